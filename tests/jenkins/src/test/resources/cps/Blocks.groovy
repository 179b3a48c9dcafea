// The declarative words and the steps with a body, for CpsTest: themselves transformed for CPS, as Jenkins' own are, so
// that a step deep inside of them can be suspended. Every other call leaves the program as a step.

void pipeline(Closure body) {
    binding.variables.depth = []
    binding.variables.post = [:]
    body()
    env.STAGE_NAME = 'Declarative: Post Actions'
    boolean failed = currentBuild.currentResult == 'FAILURE'
    List words = (failed ? ['failure'] : []) + ['cleanup']
    for (int i = 0; i < words.size(); i++) {
        String word = words[i]
        if (binding.variables.post[word]) {
            say("post ${word}")
            depth.add([wanted: true, post: [:]])
            binding.variables.post[word].call()
            depth.remove(depth.size() - 1)
        }
    }
    say("${currentBuild.displayName ?: '#7'} ${currentBuild.currentResult}${currentBuild.description ? ': ' + currentBuild.description : ''}")
}

void say(String line) {
    note('  ' * depth.size() + line)
}

void worsen(String result) {
    List results = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']
    if (results.indexOf(result) > results.indexOf(currentBuild.currentResult)) {
        currentBuild.currentResult = result
    }
}

void agent(Closure body) { body() }

void parameters(Closure body) { body() }

void options(Closure body) { body() }

void script(Closure body) { body() }

void post(Closure body) { body() }

void node(Closure body) { body() }

void label(String text) { }

void retries(int number) { }

void timestamps() { }

void disableConcurrentBuilds() { }

void timeout(Map how) { }

Map logRotator(Map how) { how }

void buildDiscarder(Object how) { }

Map string(Map how) { how }

void environment(Closure body) { env.MLOPS_PACKAGE = env.WORKSPACE }

void always(Closure body) { keep('always', body) }

void failure(Closure body) { keep('failure', body) }

void cleanup(Closure body) { keep('cleanup', body) }

void keep(String word, Closure body) {
    if (depth) { depth[-1].post[word] = body } else { binding.variables.post[word] = body }
}

void when(Closure body) {
    binding.variables.conditions = []
    body()
    depth[-1].wanted = !conditions.contains(false)
}

void expression(Closure body) {
    boolean met = body()
    conditions.add(met)
}

void changeRequest() { conditions.add(env.CHANGE_TARGET != null) }

void not(Closure body) {
    body()
    conditions.add(!conditions.remove(conditions.size() - 1))
}

void stages(Closure body) {
    try {
        body()
    } catch (Exception reason) {
        if (depth) { depth[-1].failed = reason }
    }
}

void steps(Closure body) {
    if (depth[-1].wanted) { body() } else { say('(skipped)') }
}

void stage(String name, Closure body) {
    Map parent = depth ? depth[-1] : [:]
    String outer = env.STAGE_NAME
    say("stage ${name}")
    env.STAGE_NAME = name
    depth.add([wanted: true, post: [:]])
    Exception broken = null
    try {
        body()
        broken = depth[-1].failed
    } catch (Exception reason) {
        broken = reason
    }
    if (broken) {
        say(broken.message == 'aborted' ? 'aborted' : "failed: ${broken.message}")
        worsen(broken.message == 'aborted' ? 'ABORTED' : 'FAILURE')
    }
    if (depth[-1].post.always) { depth[-1].post.always.call() }
    depth.remove(depth.size() - 1)
    env.STAGE_NAME = outer
    if (broken && !parent.parallel) { throw broken }
    if (broken) { parent.broken = broken }
}

void parallel(Closure body) {
    depth[-1].parallel = true
    body()
    if (depth[-1].broken) { throw depth[-1].broken }
}

Object withEnv(List pairs, Closure body) {
    Map before = [:] + env
    for (int i = 0; i < pairs.size(); i++) {
        String text = pairs[i]
        env[text.substring(0, text.indexOf('='))] = text.substring(text.indexOf('=') + 1)
    }
    Object value = null
    try {
        value = body()
    } finally {
        env.clear()
        env.putAll(before)
    }
    return value
}

Object withCredentials(List secrets, Closure body) {
    say("withCredentials ${secrets.collect { "${it.variable}=${it.credentialsId}" }.join(' ')}".trim())
    return body()
}

void catchError(Map how, Closure body) {
    try {
        body()
    } catch (Exception reason) {
        say("caught: ${how.message ? how.message + ': ' : ''}${reason.message}")
        worsen(how.buildResult)
    }
}

void dir(String path, Closure body) {
    say("dir ${path - '/agent/ws@tmp'}")
    body()
}

void node(String label, Closure body) {
    say("node ${label}")
    body()
}

void unstable(String message) {
    say("unstable: ${message}")
    worsen('UNSTABLE')
}

void deleteDir() { say('deleteDir') }

void checkout(Object what) { say('checkout') }

void echo(String message) { say("echo: ${message}") }

void junit(Map step) { say("junit ${step.testResults}") }

void archiveArtifacts(Map step) { say("archiveArtifacts ${step.artifacts}") }

void publishHTML(Map step) { say("publishHTML ${step.target.reportDir}") }

Map sarif(Map tool) { tool }

void recordIssues(Map step) { say("recordIssues ${step.tool.pattern}") }

void publishChecks(Map step) { say("publishChecks ${step.title}") }

void addGitLabMRComment(Map step) { say("addGitLabMRComment ${step.comment}") }

void sleep(Map step) { say("sleep ${step.time} ${step.unit}") }
