/** Tweaks a rejected model until it meets the bar; on agents of their own where `worker_label` names some. */
void call(Map settings = [:]) {
    if (!settings.worker_label) {
        mlops('search', settings)
    } else if (settings.shared) {
        parallel(branches(settings))
    } else {
        elsewhere(settings, 'search')
    }
}

/** The search on the build's agent, and workers that join it; one whose agent disappears loses nothing. */
Map branches(Map settings) {
    Map found = [search: { mlops('search', settings + [workers: 0]) }]
    for (int n = 1; n <= (settings.workers ?: 1).toInteger(); n++) {
        found['worker ' + n] = { catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE') { elsewhere(settings, 'work') } }
    }
    return found
}

void elsewhere(Map settings, String verb) {
    node(settings.worker_label) {
        checkout(scm)
        mlops(verb, settings)
    }
}
