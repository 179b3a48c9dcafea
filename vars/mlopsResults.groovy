/** For `post { always }`: stops what is left of the run and puts its results where Jenkins users look for them. */
void call(Map settings = [:]) {
    String folder = '.mlops/results'
    dir(folder) {
        deleteDir() // an earlier build's
    }
    mlops.ask('stop', settings)
    mlops.ask('report', settings + [artifacts: folder])
    junit(testResults: "${folder}/junit.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    archiveArtifacts(artifacts: "${folder}/**", allowEmptyArchive: true)
    try {
        publishHTML(target: [reportName: 'Model report', reportDir: folder, reportFiles: 'index.html',
                             allowMissing: true, alwaysLinkToLastBuild: true, keepAll: true])
    } catch (NoSuchMethodError ignored) { // the HTML Publisher plugin is optional: the report is an artifact, too
        echo("The model report is among the artifacts: ${folder}/index.html")
    }
}
