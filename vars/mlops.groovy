import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** Runs one verb of the `mlops` command and returns its record; an exit code that is no answer fails the build. */
Map call(String verb, Map settings = [:]) {
    Map answer = ask(verb, settings)
    if (!(answer.exit in [0, 6, 10])) { // accepted or answered, rejected, undecided
        String reason = "${env.STAGE_NAME}: ${answer.error?.what ?: 'the log above says why'} (mlops ${verb}: exit ${answer.exit})"
        currentBuild.description = currentBuild.description ?: reason
        error(reason)
    }
    return answer
}

/** Runs one verb and returns its record with its exit code under `exit`, whatever it is. */
Map ask(String verb, Map settings = [:]) {
    String given = toJson([project: '.'] + settings.findAll { it.value != null && it.value != '' })
    String reply = "${folder()}/${verb}.json"
    List variables = ["MLOPS_VERB=${verb}", "MLOPS_PARAMS=${given}", "MLOPS_REPLY=${reply}", "MLOPS_BUILD=${folder()}",
                      "MLOPS_AGAINST=${against()}", "MLOPS_ORIGIN=${origin()}"]
    int exit = -1
    for (int tries = 0; exit < 0 && tries < 3; tries++) { // negative: the agent was restarted under it; it goes on
        writeFile(file: reply, text: '')
        exit = mlopsSecrets(verb) {
            withEnv(variables) {
                sh(label: "mlops ${verb}", returnStatus: true, script: libraryResource('mlops/agent.sh'))
            }
        }
    }
    String text = readFile(file: reply, encoding: 'UTF-8')
    return fromJson(text) + [exit: exit]
}

/** This build's own folder on the agent: replies, and how its stages ended. */
String folder() {
    return "${pwd(tmp: true)}/mlops-${currentBuild.startTimeInMillis}"
}

/** What the branch that a pull request goes to has reached, as its last build kept it (mlops-branch.json). */
@NonCPS
String against() {
    try {
        Object job = env.CHANGE_TARGET ? currentBuild.rawBuild.parent.parent.getItem(env.CHANGE_TARGET) : null
        Object kept = job?.lastSuccessfulBuild?.artifactManager?.root()?.child('.mlops/results/mlops-branch.json')
        return kept?.isFile() ? kept.open().getText('UTF-8').replace('$', '\\u0024') : ''
    } catch (SecurityException ignored) { // a library of a folder runs in the sandbox: no comparison
        return ''
    }
}

/** This library's own repository and version: what an agent installs that has no `mlops` and is not told what to. */
@NonCPS
String origin() {
    try {
        Object loaded = env.MLOPS_PACKAGE ? null : currentBuild.rawBuild?.allActions?.find { it.class.simpleName == 'LibrariesAction' }
        Object ours = loaded?.libraries?.find { 'mlopsSecrets' in it.variables }
        if (!ours) {
            return ''
        }
        Object known = jenkins.model.GlobalConfiguration.all().find { it.class.simpleName == 'GlobalLibraries' }
        Object scm = known?.libraries?.find { it.name == ours.name }?.retriever?.scm
        String url = scm?.hasProperty('remote') ? scm.remote : scm?.hasProperty('userRemoteConfigs') ? scm.userRemoteConfigs[0]?.url : ''
        return url ? "git+${url}@${ours.version}" : ''
    } catch (SecurityException | GroovyRuntimeException ignored) { // in the sandbox, or a library of another kind
        return ''
    }
}

/** JSON without a `$`: no layer between here and the shell finds one to expand. */
@NonCPS
String toJson(Map settings) {
    return JsonOutput.toJson(settings).replace('$', '\\u0024')
}

/** A record as plain maps and lists: the parser's own are lazy and may not live across a step. */
@NonCPS
Map fromJson(String text) {
    // The last line: `watch` prints its decisions before, one a line.
    return text.trim() ? (Map) plain(new JsonSlurper().parseText(text.trim().readLines().last())) : [:]
}

@NonCPS
Object plain(Object value) {
    if (value instanceof Map) {
        return value.collectEntries { [(it.key): plain(it.value)] }
    }
    return value instanceof List ? value.collect { plain(it) } : value
}
