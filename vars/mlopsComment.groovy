/** Writes a comment beside a pull request, with whichever plugin of its server is there. */
void call(String text) {
    if (!env.CHANGE_ID) {
        return
    }
    try {
        pullRequest.comment(text) // GitHub: the plugin pipeline-github
    } catch (MissingPropertyException | SecurityException ignored) {
        gitlab(text)
    }
}

void gitlab(String text) {
    try {
        addGitLabMRComment(comment: text)
    } catch (NoSuchMethodError ignored) {
        echo("No plugin that could comment: ${text}")
    }
}
