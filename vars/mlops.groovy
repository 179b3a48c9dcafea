import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** Runs one verb of the `mlops` command and returns its record; an exit code that is no answer fails the build. */
Map call(String verb, Map settings = [:]) {
    Map answer = ask(verb, settings)
    if (!(answer.exit in [0, 6, 10])) { // accepted or answered, rejected, undecided
        String reason = "${env.STAGE_NAME}: ${answer.error?.what ?: 'the log above says why'} (mlops ${verb}: exit ${answer.exit})"
        currentBuild.description = currentBuild.description ?: reason
        writeFile(file: failed(), text: reason) // ends the watchdog beside
        error(reason)
    }
    return answer
}

/** Runs one verb and returns its record with its exit code under `exit`, whatever it is. */
Map ask(String verb, Map settings = [:]) {
    String params = toJson([project: '.'] + settings.findAll { it.value != null && it.value != '' })
    String reply = "${pwd(tmp: true)}/mlops-${verb}${params.hashCode()}.json"
    writeFile(file: reply, text: '')
    List variables = ["MLOPS_VERB=${verb}", "MLOPS_PARAMS=${params}", "MLOPS_REPLY=${reply}", "MLOPS_FAILED=${failed()}"]
    int exit = withEnv(variables) {
        sh(label: "mlops ${verb}", returnStatus: true, script: libraryResource('mlops/agent.sh'))
    }
    String text = readFile(file: reply, encoding: 'UTF-8')
    return fromJson(text) + [exit: exit]
}

/** The file that tells the steps beside that this build has failed. */
String failed() {
    return "${pwd(tmp: true)}/mlops-failed-${env.BUILD_NUMBER}"
}

/** JSON without a `$`: no layer between here and the shell finds one to expand. */
@NonCPS
String toJson(Map settings) {
    return JsonOutput.toJson(settings).replace('$', '\\u0024')
}

/** A record as plain maps and lists: the parser's own are lazy and may not live across a step. */
@NonCPS
Map fromJson(String text) {
    return text.trim() ? (Map) plain(new JsonSlurper().parseText(text)) : [:]
}

@NonCPS
Object plain(Object value) {
    if (value instanceof Map) {
        return value.collectEntries { [(it.key): plain(it.value)] }
    }
    return value instanceof List ? value.collect { plain(it) } : value
}
