/** The watchdog beside a training: ends when the run ends, and never fails the build by itself. */
void call(Map settings = [:]) {
    Map answer = mlops.ask('watch', settings + [until_done: true])
    if (answer.exit != 0) {
        echo("The watchdog ended early (exit ${answer.exit}); the training went on without it.")
    }
}
