/** Tweaks a rejected model until it meets the bar; on an agent of its own where `worker_label` names one. */
void call(Map settings = [:]) {
    if (!settings.worker_label) {
        mlops('search', settings)
        return
    }
    node(settings.worker_label) {
        checkout(scm)
        mlops('search', settings)
    }
}
