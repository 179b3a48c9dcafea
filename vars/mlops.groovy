import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** Runs one verb of the `mlops` command and returns its record; an exit code that is no answer fails the build. */
Map call(String verb, Map settings = [:]) {
    Map answer = ask(verb, settings)
    if (!(answer.exit in [0, 6, 10])) { // accepted or answered, rejected, undecided
        String signal = answer.exit > 128 ? "it was killed by signal ${answer.exit - 128}" : 'its log above says more'
        String reason = "${env.STAGE_NAME}: ${answer.summary ?: signal} (mlops ${verb}: exit ${answer.exit})"
        currentBuild.description = currentBuild.description ?: reason
        error(reason)
    }
    return answer
}

/** Runs one verb and returns its record with its exit code under `exit`, whatever it is. */
Map ask(String verb, Map settings = [:]) {
    String given = toJson([project: '.'] + settings.findAll { it.value != null && it.value != '' })
    String build = toJson([result: currentBuild.currentResult, reason: currentBuild.description])
    int most = verb == 'watch' ? 20 : 3 // the watchdog is there for as long as anything beside it goes on
    int exit = -1
    for (int tries = 0; (exit < 0 || exit > 128) && tries < most; tries++) { // the agent was restarted, or a signal killed it
        if (tries > 0) {
            sleep(time: 5, unit: 'SECONDS')
            if (env.MLOPS_INTERRUPTED == 'yes' && verb != 'watch') { // an abort kills what runs beside the step that it stops
                error("${env.STAGE_NAME}: interrupted")
            }
        }
        String reply = emptied("${verb}.json")
        List variables = ["MLOPS_VERB=${verb}", "MLOPS_PARAMS=${given}", "MLOPS_REPLY=${reply}", "MLOPS_BUILD=${folder()}",
                          "MLOPS_OUTCOME=${build}", "MLOPS_ORIGIN=${origin()}"]
        exit = mlopsSecrets(verb) {
            withEnv(variables) {
                sh(label: "mlops ${verb}", returnStatus: true, script: libraryResource('mlops/agent.sh'))
            }
        }
    }
    String text = readFile(file: "${folder()}/${verb}.json", encoding: 'UTF-8')
    return fromJson(text) + [exit: exit]
}

/** An empty file in the build's own folder; an agent that is being restarted is waited for. */
String emptied(String name) {
    String path = null
    for (int tries = 0; !path; tries++) {
        try {
            writeFile(file: "${folder()}/${name}", text: '')
            path = "${folder()}/${name}"
        } catch (IOException offline) {
            if (tries == 20) {
                throw offline // with this, the pipeline's `agent` starts the build over on another one
            }
            sleep(time: 15, unit: 'SECONDS')
        }
    }
    return path
}

/** This build's own folder on the agent: replies, and how its stages ended. */
String folder() {
    return "${pwd(tmp: true)}/mlops-${currentBuild.startTimeInMillis}"
}

/** This library's own repository and version: what an agent installs that has no `mlops` and is not told what to. */
@NonCPS
String origin() {
    try {
        Object known = env.MLOPS_PACKAGE ? null : jenkins.model.GlobalConfiguration.all().find { it.class.simpleName == 'GlobalLibraries' }
        List loaded = known ? known.libraries.findAll { env[version(it.name)] } : []
        Object ours = loaded.size() == 1 ? loaded[0] : loaded.find { it.name == 'mlops' }
        Object scm = ours?.retriever?.scm
        String url = scm?.hasProperty('remote') ? scm.remote : scm?.hasProperty('userRemoteConfigs') ? scm.userRemoteConfigs[0]?.url : ''
        return url ? "git+${url}@${env[version(ours.name)]}" : ''
    } catch (SecurityException | GroovyRuntimeException ignored) { // a folder's library runs in the sandbox, or is of another kind
        return ''
    }
}

/** The variable in which Jenkins tells the version of a library that the build has loaded. */
@NonCPS
String version(String library) {
    return "library.${library}.version"
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
