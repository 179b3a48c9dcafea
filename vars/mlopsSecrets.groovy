/**
 * Runs `body` with the operator's secrets bound, if `verb` is one that tells people; and without them otherwise.
 * The operator names them once, in Jenkins: MLOPS_CREDENTIALS='MLOPS_SLACK_WEBHOOK=credentials-id,…' (secret texts).
 */
Object call(String verb, Closure body) {
    // A pull request is a stranger: nothing of it runs beside them, so it is told of at its end only.
    List telling = env.CHANGE_TARGET ? ['notify'] : ['train', 'search', 'watch', 'notify']
    List secrets = []
    for (String pair : (verb in telling ? env.MLOPS_CREDENTIALS ?: '' : '').tokenize(', ')) {
        List parts = pair.tokenize('=')
        secrets << string(variable: parts[0], credentialsId: parts[1])
    }
    if (secrets && verb != 'notify') { // that one is missing is no reason not to train
        try {
            withCredentials(secrets) { }
        } catch (IOException missing) {
            echo("Nobody is told before the end: ${missing.message}")
            secrets = []
        }
    }
    return secrets ? withCredentials(secrets, body) : body()
}
