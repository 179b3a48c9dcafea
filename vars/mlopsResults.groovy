/** For `post { cleanup }`: stops what is left of the run and puts its results where Jenkins users look for them. */
void call(Map settings = [:]) {
    String folder = '.mlops/results' // the command empties it, and not through a link that was pushed
    Map left = mlops.ask('stop', settings)
    if (currentBuild.currentResult == 'ABORTED') {
        currentBuild.description = currentBuild.description ?: left.summary
    }
    Map report = mlops.ask('report', settings + [artifacts: folder])
    if (report.artifacts) {
        publish(folder)
    } else { // what lies there is not what this build has made
        echo("No results are published: ${report.summary ?: 'the log above says why'}")
    }
    if (report.check) {
        optional('Checks API', 'the verdict is in the description') {
            publishChecks(report.check)
        }
    }
    if (settings.comment && report.comment) {
        mlopsComment(report.comment)
    }
}

/** The files of a folder that the command has filled. */
void publish(String folder) {
    junit(testResults: "${folder}/junit.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    archiveArtifacts(artifacts: "${folder}/**", allowEmptyArchive: true, followSymlinks: false)
    optional('HTML Publisher', "the report is among the artifacts: ${folder}/report/index.html") {
        publishHTML(target: [reportName: 'Model report', reportDir: "${folder}/report", reportFiles: 'index.html',
                             allowMissing: true, alwaysLinkToLastBuild: true, keepAll: true])
    }
    optional('Warnings', "the warnings are among the artifacts: ${folder}/warnings.sarif") {
        recordIssues(tool: sarif(pattern: "${folder}/warnings.sarif", id: 'mlops', name: 'mlops'), enabledForFailure: true)
    }
}

/** Runs steps of a plugin that may not be there; nothing that it refuses changes the build's result. */
void optional(String plugin, String instead, Closure body) {
    try {
        body()
    } catch (NoSuchMethodError ignored) {
        echo("Without the ${plugin} plugin ${instead}")
    } catch (IOException | IllegalArgumentException refused) {
        echo("The ${plugin} plugin refused: ${refused.message}; ${instead}")
    }
}
