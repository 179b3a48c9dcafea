/** The watchdog beside a training: ends when the run or `mlopsWatch.end()` says so, and never fails the build. */
void call(Map settings = [:]) {
    env.MLOPS_INTERRUPTED = ''
    dir("${mlops.folder()}/ended") { deleteDir() } // that of a round which ended with its agent
    try {
        catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE', catchInterruptions: false) {
            Map answer = mlops.ask('watch', settings + [until_done: true])
            if (answer.exit != 0) {
                error("The watchdog ended early (exit ${answer.exit}); the training goes on without it.")
            }
        }
    } catch (Exception interrupted) { // nothing else comes through
        env.MLOPS_INTERRUPTED = 'yes'
        throw interrupted
    }
}

/** For `post { always }` of the stages beside: nothing is left to watch, however they ended. */
void end() {
    writeFile(file: "${mlops.folder()}/ended/now", text: '')
}
