/**
 * Tells people. A message that cannot be delivered marks the stage, not the build: the model is what it is.
 * The operator names secrets once, in Jenkins: MLOPS_CREDENTIALS='MLOPS_SLACK_WEBHOOK=credentials-id,…' (secret texts).
 */
void call(Map settings = [:]) {
    catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE', catchInterruptions: false, message: 'Nobody was told') {
        List secrets = []
        for (String pair : (env.MLOPS_CREDENTIALS ?: '').tokenize(', ')) {
            List parts = pair.tokenize('=')
            secrets << string(variable: parts[0], credentialsId: parts[1])
        }
        withCredentials(secrets) {
            mlops('notify', settings)
        }
    }
}
