import com.lesfurets.jenkins.unit.BasePipelineTest
import com.lesfurets.jenkins.unit.global.lib.LibraryConfiguration
import com.lesfurets.jenkins.unit.global.lib.SourceRetriever
import org.junit.jupiter.api.BeforeEach

import static org.junit.jupiter.api.Assertions.assertEquals

/**
 * Runs declarative pipelines with JenkinsPipelineUnit, which knows scripted ones only: this class gives it the
 * declarative words with the meaning that Jenkins gives them. A failed stage skips the following ones, `when` decides
 * over `steps`, branches of `parallel` do not hear of each other's failure, and `post` comes last.
 *
 * The `sh` of a test answers from a table (verb → exit code and record), or runs the script for real.
 */
abstract class DeclarativeTest extends BasePipelineTest {

    static File ROOT = new File(System.getProperty('user.dir')).absoluteFile.parentFile.parentFile
    static List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']

    /** What happened, one line each, indented by stage: compared with a file of the same form. */
    List<String> journal = []
    /** The agent's files. */
    Map<String, String> files = [:]
    Map<String, String> environment = [WORKSPACE: '/agent/workspace/my project', WORKSPACE_TMP: '/agent/workspace/my project@tmp',
                                       BRANCH_NAME: 'main']
    /** Verb → answers in order, the last of them repeated: [exit, record]. */
    Map<String, List> answers = [:]
    /** Every `sh` as it reached the agent. */
    List<Map> shells = []
    Map<String, Object> build = [description: null, number: 7, startTimeInMillis: 1700000000000]
    protected Map<String, String> parameters = [:]
    protected List<Map> stages = []
    protected Map<String, Closure> post = [:]
    protected List<Boolean> conditions = []

    static class Aborted extends RuntimeException { }

    static class Failed extends RuntimeException {
        Failed(String message) { super(message) }
    }

    @Override
    @BeforeEach
    void setUp() {
        scriptRoots = [ROOT.path, "${ROOT.path}/tests/jenkins/src/test/resources"]
        scriptExtension = ''
        helper.registerSharedLibrary(LibraryConfiguration.library()
            .name('mlops').defaultVersion('main').allowOverride(true).implicit(false)
            .targetPath(ROOT.path).retriever(new LibraryOfThisCheckout()).build())
        super.setUp()
        binding.setVariable('currentBuild', build)
        build.currentResult = 'SUCCESS'
        binding.setVariable('params', parameters)
        binding.setVariable('scm', 'scm')
        binding.setVariable('env', environment)
        ['any', 'none'].each { binding.setVariable(it, it) }
        registerDirectives()
        registerStages()
        registerSteps()
    }

    /** Values that the person who started the build typed, over the parameters' defaults. */
    void given(Map<String, String> values) {
        parameters.putAll(values)
    }

    void run(String script) {
        runScript(script)
    }

    protected void registerDirectives() {
        allow('pipeline', [Closure]) { Closure body ->
            body()
            finish()
        }
        ['parameters', 'options', 'triggers', 'agent', 'script', 'node'].each { word ->
            allow(word, [Closure]) { Closure body -> body() }
        }
        allow('environment', [Closure]) { Closure body ->
            Set<String> known = binding.variables.keySet().collect { it as String } as Set
            body() // assigns variables of the script
            binding.variables.findAll { !(it.key in known) }.each { environment[it.key as String] = it.value as String }
        }
        allow('label', [String]) { }
        allow('retries', [Integer]) { }
        // Two meanings of one word: a parameter inside `parameters`, a binding inside `withCredentials`.
        allow('string', [Map]) { Map map ->
            if (map.name && !parameters.containsKey(map.name)) {
                parameters[map.name] = map.defaultValue ?: ''
            }
            return map
        }
        ['timestamps', 'disableConcurrentBuilds', 'skipDefaultCheckout'].each { word -> allow(word, []) { } }
        ['timeout', 'logRotator', 'disableConcurrentBuilds'].each { word -> allow(word, [Map]) { it } }
        allow('buildDiscarder', [Object]) { }
    }

    protected void registerStages() {
        allow('stage', [String, Closure]) { String name, Closure body -> stage(name, body) }
        allow('stages', [Closure]) { Closure body -> runStages(body) }
        allow('parallel', [Closure]) { Closure body -> parallel(body) }
        // Every condition of `when` speaks; all of them must agree.
        allow('when', [Closure]) { Closure body -> conditions = []; body(); stages[-1].wanted = conditions.every() }
        allow('expression', [Closure]) { Closure body -> condition(body() as boolean) }
        allow('steps', [Closure]) { Closure body ->
            stages[-1].wanted ? body() : note('(skipped)')
        }
        allow('not', [Closure]) { Closure body -> body(); condition(!conditions.remove(conditions.size() - 1)) }
        allow('changeRequest', []) { condition(environment.CHANGE_TARGET != null) }
        // A stage's conditions are kept until it has ended, the pipeline's until everything has.
        allow('post', [Closure]) { Closure body -> body() }
        ['always', 'success', 'unstable', 'failure', 'aborted', 'unsuccessful', 'cleanup'].each { word ->
            allow(word, [Closure]) { Closure body -> (stages ? stages[-1].post : post)[word] = body }
        }
    }

    protected void registerSteps() {
        allow('sh', [Map]) { Map step -> shell(step) }
        allow('pwd', [Map]) { Map step -> step.tmp ? environment.WORKSPACE_TMP : environment.WORKSPACE }
        allow('writeFile', [Map]) { Map step -> files[step.file as String] = step.text as String }
        allow('readFile', [Map]) { Map step ->
            if (!files.containsKey(step.file as String)) { throw new FileNotFoundException(step.file as String) }
            return files[step.file as String]
        }
        allow('withEnv', [List, Closure]) { List pairs, Closure body -> withEnvironment(pairs, body) }
        allow('withCredentials', [List, Closure]) { List bindings, Closure body ->
            note("withCredentials ${bindings.collect { "${it.variable}=${it.credentialsId}" }.join(' ')}".trim())
            return body()
        }
        allow('catchError', [Map, Closure]) { Map how, Closure body ->
            try {
                body()
            } catch (Failed | IOException failed) {
                note("caught: ${how.message ? how.message + ': ' : ''}${failed.message}")
                worsen(how.buildResult as String)
            }
        }
        allow('node', [String, Closure]) { String label, Closure body -> note("node ${label}"); body() }
        allow('checkout', [Object]) { note('checkout') }
        allow('dir', [String, Closure]) { String path, Closure body -> note("dir ${path - environment.WORKSPACE_TMP}"); body() }
        allow('deleteDir', []) { note('deleteDir') }
        allow('error', [String]) { String message -> throw new Failed(message) }
        allow('unstable', [String]) { String message -> note("unstable: ${message}"); worsen('UNSTABLE') }
        allow('echo', [String]) { String message -> note("echo: ${message}") }
        allow('junit', [Map]) { Map step -> note("junit ${step.testResults}") }
        allow('archiveArtifacts', [Map]) { Map step -> note("archiveArtifacts ${step.artifacts}") }
        allow('publishHTML', [Map]) { Map step -> note("publishHTML ${step.target.reportDir}") }
        allow('sarif', [Map]) { Map tool -> tool }
        allow('recordIssues', [Map]) { Map step -> note("recordIssues ${step.tool.pattern}") }
        allow('publishChecks', [Map]) { Map step -> note("publishChecks ${step.title}") }
        allow('addGitLabMRComment', [Map]) { Map step -> note("addGitLabMRComment ${step.comment}") }
        allow('sleep', [Map]) { Map step -> note("sleep ${step.time} ${step.unit}") }
    }

    void allow(String name, List<Class> arguments, Closure meaning) {
        helper.registerAllowedMethod(name, arguments, meaning)
    }

    void note(String line) {
        journal << '  ' * stages.size() + line
    }

    protected boolean condition(boolean met) {
        conditions << met
        return met
    }

    void worsen(String result) {
        if (RESULTS.indexOf(result) > RESULTS.indexOf(build.currentResult)) { build.currentResult = result }
    }

    protected void stage(String name, Closure body) {
        Map parent = stages ? stages[-1] : [:]
        String outer = environment.STAGE_NAME
        note("stage ${name}")
        environment.STAGE_NAME = name
        stages << [wanted: true, post: [:]]
        RuntimeException broken = null
        try {
            body()
            broken = stages[-1].failed // one of its own stages
        } catch (Failed | Aborted reason) {
            broken = reason
        }
        if (broken) {
            note("${broken.class.simpleName.toLowerCase()}${broken.message ? ': ' + broken.message : ''}")
            worsen(broken instanceof Failed ? 'FAILURE' : 'ABORTED')
        }
        if (stages[-1].post.always) { stages[-1].post.always() }
        stages.remove(stages.size() - 1)
        environment.STAGE_NAME = outer
        if (broken && !parent.parallel) { throw broken }
        parent.broken = broken ?: parent.broken // the other branches go on
    }

    protected void parallel(Closure body) {
        Map parent = stages[-1]
        parent.parallel = true
        body()
        if (parent.broken) { throw parent.broken }
    }

    protected void runStages(Closure body) {
        try {
            body()
        } catch (Failed | Aborted reason) {
            if (stages) { stages[-1].failed = reason } // its `post` comes first
        }
    }

    protected void finish() {
        environment.STAGE_NAME = 'Declarative: Post Actions'
        Map<String, Boolean> applies = [ // in the order in which Jenkins looks at them
            always      : true,
            aborted     : build.currentResult == 'ABORTED',
            failure     : build.currentResult == 'FAILURE',
            success     : build.currentResult == 'SUCCESS',
            unstable    : build.currentResult == 'UNSTABLE',
            unsuccessful: build.currentResult != 'SUCCESS',
            cleanup     : true,
        ]
        applies.each { word, wanted ->
            if (wanted && post[word]) {
                note("post ${word}")
                stages << [wanted: true, post: [:]]
                post[word]()
                stages.remove(stages.size() - 1)
            }
        }
        note("${build.displayName ?: '#7'} ${build.currentResult}${build.description ? ': ' + build.description : ''}")
    }

    protected Object withEnvironment(List pairs, Closure body) {
        Map<String, String> before = new LinkedHashMap<>(environment)
        pairs.each { pair ->
            String text = pair as String
            environment[text.substring(0, text.indexOf("="))] = text.substring(text.indexOf("=") + 1)
        }
        try {
            return body()
        } finally {
            environment.keySet().retainAll(before.keySet())
            environment.putAll(before)
        }
    }

    protected int shell(Map step) {
        shells << [script: step.script as String, env: new LinkedHashMap<>(environment)]
        String verb = environment.MLOPS_VERB
        List queue = answers[verb] ?: [[0, verb == 'report' ? '{"artifacts": ".mlops/results"}' : '{}']]
        Object answer = queue.size() > 1 ? queue.remove(0) : queue[0]
        if (answer == 'abort') {
            note("mlops ${verb} → aborted")
            throw new Aborted()
        }
        note("mlops ${verb} ${environment.MLOPS_PARAMS} → ${answer[0]}")
        files[environment.MLOPS_REPLY] = answer[1] as String
        return answer[0] as int
    }

    /** The journal equals the file; MLOPS_GOLDEN=write writes the file instead, to be read before it is committed. */
    void assertGolden(String name) {
        File golden = new File("src/test/resources/golden/${name}.txt")
        String text = journal.join('\n') + '\n'
        if (System.getenv('MLOPS_GOLDEN') == 'write') {
            golden.parentFile.mkdirs()
            golden.setText(text, 'UTF-8')
        }
        assertEquals(golden.getText('UTF-8'), text)
    }

}

/** The shared library under test is this checkout, whatever version is asked for. */
class LibraryOfThisCheckout implements SourceRetriever {
    @Override
    List<URL> retrieve(String repository, String branch, String targetPath) {
        return [DeclarativeTest.ROOT.toURI().toURL()]
    }
}
