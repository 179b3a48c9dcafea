/** Tells people. A message that cannot be delivered marks the stage, not the build: the model is what it is. */
void call(Map settings = [:]) {
    catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE', catchInterruptions: false, message: 'Could not send notifications') {
        mlops('notify', settings)
    }
}
