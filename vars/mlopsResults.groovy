/** For `post { cleanup }`: stops what is left of the run and puts its results where Jenkins users look for them. */
void call(Map settings = [:]) {
    String folder = '.mlops/results'
    dir(folder) {
        deleteDir() // an earlier build's
    }
    Map left = mlops.ask('stop', settings)
    if (currentBuild.currentResult == 'ABORTED') {
        currentBuild.description = currentBuild.description ?: left.summary
    }
    Map report = mlops.ask('report', settings + [artifacts: folder])
    junit(testResults: "${folder}/junit.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    archiveArtifacts(artifacts: "${folder}/**", allowEmptyArchive: true)
    optional('HTML Publisher', "the report is among the artifacts: ${folder}/report/index.html") {
        publishHTML(target: [reportName: 'Model report', reportDir: "${folder}/report", reportFiles: 'index.html',
                             allowMissing: true, alwaysLinkToLastBuild: true, keepAll: true])
    }
    optional('Warnings', "the warnings are among the artifacts: ${folder}/warnings.sarif") {
        recordIssues(tool: sarif(pattern: "${folder}/warnings.sarif", id: 'mlops', name: 'mlops'), enabledForFailure: true)
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
