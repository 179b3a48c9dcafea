/** Tweaks a rejected model until it meets the bar; on agents of their own where `worker_label` names some. */
void call(Map settings = [:]) {
    if (!settings.worker_label) {
        mlops('search', settings)
    } else if ((settings.workers ?: 1).toInteger() > 1) {
        Map cluster = mlops('cluster', settings)
        withEnv(['RAY_AUTH_MODE=token', "RAY_AUTH_TOKEN=${cluster.token}"]) {
            parallel(branches(settings, cluster.address))
        }
    } else {
        node(settings.worker_label) {
            checkout(scm)
            mlops('search', settings)
        }
    }
}

/** The search beside a Ray head on the build's agent, and agents that join it; one that disappears loses nothing. */
Map branches(Map settings, String address) {
    Map found = [search: { mlops('search', settings + [on: "head://${address}".toString()]) }]
    for (int n = 1; n <= settings.workers.toInteger(); n++) {
        found['worker ' + n] = {
            catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE') {
                node(settings.worker_label) {
                    mlops('work', settings + [on: address])
                }
            }
        }
    }
    return found
}
