import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.CpsTransformer
import com.cloudbees.groovy.cps.Envs
import com.cloudbees.groovy.cps.Outcome
import com.cloudbees.groovy.cps.SerializableScript
import com.cloudbees.groovy.cps.sandbox.SandboxInvoker
import com.cloudbees.groovy.cps.sandbox.Trusted
import com.cloudbees.groovy.cps.sandbox.Untrusted
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.CompilationCustomizer
import org.codehaus.groovy.runtime.InvokerHelper
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.MethodSource
import org.junit.jupiter.params.provider.ValueSource
import org.kohsuke.groovy.sandbox.GroovyInterceptor

import static org.junit.jupiter.api.Assertions.assertEquals
import static org.junit.jupiter.api.Assertions.assertThrows
import static org.junit.jupiter.api.Assertions.assertTrue

/**
 * The Jenkinsfile and the library as Jenkins runs them: transformed for CPS by the library that Jenkins itself uses. At
 * every step the whole program is serialized, thrown away and read back, as when the controller restarts there. The
 * Jenkinsfile runs in the sandbox's interpreter, which tells what it asks of objects that are not its own.
 */
class CpsTest {

    /** What the Jenkinsfile asks beyond its own steps; script security's general list permits these. */
    static final Set<String> PERMITTED = ['LinkedHashMap.get', 'static ScriptBytecodeAdapter.compareEqual',
                                           'static ScriptBytecodeAdapter.compareNotEqual'] as Set

    /** What the library asks beyond its own steps, looked up in script security's generic-whitelist. */
    static final Set<String> SANDBOXED = [
        'ArrayList.leftShift', 'Entry.value', 'Integer.minus', 'Integer.next', 'LinkedHashMap.findAll', 'LinkedHashMap.plus', 'LinkedHashMap.put',
        'String.tokenize', 'UnmodifiableEntry.value', 'UnmodifiableMap.findAll', 'UnmodifiableMap.get', 'UnmodifiableMap.plus', 'new GStringImpl',
        'static ScriptBytecodeAdapter.asType', 'static ScriptBytecodeAdapter.compareGreaterThan',
        'static ScriptBytecodeAdapter.compareLessThan', 'static ScriptBytecodeAdapter.isCase',
    ] as Set

    List<String> journal = []
    Map<String, List> answers = [:]
    Map<String, String> files = [:]
    Set<String> asked = new TreeSet<>()
    int restarts = 0

    static List<Object[]> builds() {
        return PipelineTest.builds().collect { it.get() }
    }

    @ParameterizedTest(name = '{0} by {1}')
    @MethodSource('builds')
    void buildSurvivesARestartAtEveryStep(String name, String script) {
        answers.putAll(PipelineTest.BUILDS[name].collectEntries { verb, list -> [verb, new ArrayList(list)] })
        run(script, [project: 'model_repo/digits'])
        assertEquals(new File("src/test/resources/golden/${name}.txt").getText('UTF-8'), journal.join('\n') + '\n')
        assertTrue(restarts > 15, "only ${restarts} steps")
        assertEquals([] as Set, asked - PERMITTED)
    }

    @Test
    void aPullRequestAndAnAgentForTheSearch() {
        answers.judge = [PipelineTest.answer(6, PipelineTest.REJECTED), PipelineTest.answer(0, PipelineTest.ACCEPTED)]
        run('Jenkinsfile', [project: 'p', worker_label: 'gpu'], [CHANGE_TARGET: 'main'])
        assertTrue(journal*.trim().containsAll(['node gpu', 'checkout', '(skipped)']), journal.join('\n'))
        assertEquals('#7 accuracy 0.9300 SUCCESS: accepted: accuracy 0.9300, bar 0.8000, champion 0.9100', journal[-1])
    }

    /** A folder's library is not trusted: all that its steps ask of objects has to be on script security's general list. */
    @ParameterizedTest(name = '{0} by a library in the sandbox')
    @ValueSource(strings = ['accepted-by-search', 'command-killed', 'killed-each-time', 'nobody-told', 'aborted'])
    void theLibraryRunsInAFoldersSandbox(String name) {
        answers.putAll(PipelineTest.BUILDS[name].collectEntries { verb, list -> [verb, new ArrayList(list)] })
        answers.report = [PipelineTest.answer(0, [check: [title: 'accepted'], comment: 'text'])]
        (steps, library, pushed) = [STEPS, FOLDER, FOLDER]
        run('Jenkinsfile', [project: 'model_repo/digits', comment: 'true'], [MLOPS_CREDENTIALS: 'MLOPS_SLACK_TOKEN=slack'])
        assertEquals([] as Set, asked - PERMITTED - SANDBOXED)
        assertTrue(asked.contains('UnmodifiableMap.findAll'), asked.toString()) // the steps were really looked at
    }

    @Test
    void whatCannotBeSerializedIsFound() {
        Throwable thrown = assertThrows(NotSerializableException) { interpret(parse(PUSHED, 'def held = new Object(); note("x"); note(held)', 'Held')) }
        assertTrue(thrown.message.contains('java.lang.Object'), thrown.message)
    }

    private static final GroovyClassLoader LIBRARY = loader(CpsTest.classLoader, new TrustedCpsTransformer())
    private static final GroovyClassLoader PUSHED = loader(LIBRARY, new PushedCpsTransformer())
    /** The same for a folder's library; apart, for a class is found again by its name. */
    private static final GroovyClassLoader STEPS = loader(CpsTest.classLoader, new TrustedCpsTransformer())
    private static final GroovyClassLoader FOLDER = loader(STEPS, new PushedCpsTransformer())
    private static final Map<String, Class> CLASSES = [:]
    private final Binding binding = new Binding()
    /** Who loads the library: one for all of Jenkins is trusted, a folder's is as little as a Jenkinsfile. */
    private GroovyClassLoader library = LIBRARY
    private GroovyClassLoader steps = LIBRARY
    private GroovyClassLoader pushed = PUSHED

    private static GroovyClassLoader loader(ClassLoader parent, CompilationCustomizer transformer) {
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.scriptBaseClass = StepScript.name
        configuration.addCompilationCustomizers(transformer)
        return new GroovyClassLoader(parent, configuration)
    }

    /** A file's script; each is compiled once for all tests. */
    private Script parse(GroovyClassLoader loader, String text, String name) {
        Class compiled = CLASSES.computeIfAbsent("${name} ${System.identityHashCode(loader)}".toString()) { loader.parseClass(text, "${name}.groovy") }
        return InvokerHelper.createScript(compiled, binding)
    }

    private void run(String script, Map parameters, Map more = [:]) {
        File root = DeclarativeTest.ROOT
        List<File> variables = new File(root, 'vars').listFiles().findAll { it.name.endsWith('.groovy') }
        (variables + new File('src/test/resources/cps/Blocks.groovy')).each { source ->
            String variable = source.name - '.groovy'
            GroovyClassLoader loader = variable == 'Blocks' ? steps : library
            binding.setVariable(variable, parse(loader, source.text, variable))
        }
        Map env = [WORKSPACE: '/agent/ws', BRANCH_NAME: 'main'] + more
        Map build = [description: null, currentResult: 'SUCCESS', number: 7, startTimeInMillis: 1700000000000]
        [env: env, params: Collections.unmodifiableMap(new TreeMap(parameters)), currentBuild: build, scm: 'scm'].each { key, value -> binding.setVariable(key, value) }
        File file = script == 'Jenkinsfile' ? new File(root, script) : new File("src/test/resources/${script}")
        interpret(parse(pushed, file.text - "@Library('mlops') _", script))
    }

    /** Runs a program to its end, with a restart at each of its steps. */
    private void interpret(Script script) {
        GroovyInterceptor interceptor = new Asked(asked: asked)
        interceptor.register()
        try {
            Continuable program = new Continuable(script, Envs.empty(new SandboxInvoker()))
            Outcome outcome = new Outcome(null, null)
            while (true) {
                Outcome left = program.run0(outcome, Continuable.categories)
                if (!program.isResumable()) {
                    left.replay()
                    return
                }
                List step = left.replay() as List
                program = restarted(program)
                try {
                    outcome = new Outcome(perform(step[0] as String, step[1] as List, step[2] as Map), null)
                } catch (IllegalStateException reason) {
                    outcome = new Outcome(null, reason)
                }
            }
        } finally {
            interceptor.unregister()
        }
    }

    private Continuable restarted(Continuable program) {
        restarts++
        ByteArrayOutputStream bytes = new ByteArrayOutputStream()
        new ObjectOutputStream(bytes).withCloseable { it.writeObject(program) }
        return new Reader(new ByteArrayInputStream(bytes.toByteArray()), pushed).readObject() as Continuable
    }

    private Object perform(String name, List arguments, Map env) {
        switch (name) {
            case 'note': journal << (arguments[0] as String); return null
            case 'pwd': return '/agent/ws@tmp'
            case 'libraryResource': return 'the script'
            case 'writeFile': files[arguments[0].file as String] = arguments[0].text as String; return null
            case 'readFile': return files[arguments[0].file as String]
            case 'error': throw new IllegalStateException(arguments[0] as String)
            case 'sh': return shell(env)
        }
        throw new NoSuchMethodError("No such DSL method '${name}' found among steps")
    }

    private int shell(Map env) {
        List queue = answers[env.MLOPS_VERB as String] ?: [[0, env.MLOPS_VERB == 'report' ? '{"artifacts": ".mlops/results"}' : '{}']]
        Object answer = queue.size() > 1 ? queue.remove(0) : queue[0]
        String indent = '  ' * (env.DEPTH as int)
        if (answer == 'abort') {
            journal << "${indent}mlops ${env.MLOPS_VERB} → aborted".toString()
            throw new IllegalStateException('aborted')
        }
        journal << "${indent}mlops ${env.MLOPS_VERB} ${env.MLOPS_PARAMS} → ${answer[0]}".toString()
        files[env.MLOPS_REPLY as String] = answer[1] as String
        return answer[0] as int
    }

}

/** As Jenkins' own script class: a call that the script does not define is a library's variable, or a step. */
abstract class StepScript extends SerializableScript {

    private void writeObject(ObjectOutputStream stream) {
        stream.writeObject(binding.variables)
    }

    private void readObject(ObjectInputStream stream) {
        binding = new Binding(stream.readObject() as Map)
    }

    @Override
    Object invokeMethod(String name, Object given) {
        Object[] arguments = given instanceof Object[] ? given : [given] as Object[]
        if (metaClass.respondsTo(this, name, arguments)) {
            return metaClass.invokeMethod(this, name, arguments)
        }
        Object variable = binding.variables[name]
        if (variable instanceof Script && variable.metaClass.respondsTo(variable, 'call', arguments)) {
            return InvokerHelper.invokeMethod(variable, 'call', arguments)
        }
        Script blocks = binding.variables.Blocks as Script
        if (blocks?.metaClass?.respondsTo(blocks, name, arguments)) {
            return InvokerHelper.invokeMethod(blocks, name, arguments)
        }
        Map env = binding.variables.env ? [DEPTH: binding.variables.depth?.size() ?: 0] + binding.variables.env : [:]
        return Continuable.suspend(name, [name, arguments as List, env])
    }

}

/** Code of a global library is trusted: what it calls is not looked at. */
class TrustedCpsTransformer extends CpsTransformer {
    @Override
    protected Class getTrustTag() { return Trusted }
}

/** A Jenkinsfile is not: every call of it goes through the sandbox. */
class PushedCpsTransformer extends CpsTransformer {
    @Override
    protected Class getTrustTag() { return Untrusted }
}

class Asked extends GroovyInterceptor {

    Set<String> asked

    private void note(Object receiver, String what) {
        if (!(receiver instanceof Script || receiver instanceof Closure)) { asked << "${receiver.getClass().simpleName}.${what}".toString() }
    }

    @Override
    Object onMethodCall(GroovyInterceptor.Invoker invoker, Object receiver, String method, Object... arguments) {
        note(receiver, method)
        return super.onMethodCall(invoker, receiver, method, arguments)
    }

    @Override
    Object onStaticCall(GroovyInterceptor.Invoker invoker, Class receiver, String method, Object... arguments) {
        asked << "static ${receiver.simpleName}.${method}".toString()
        return super.onStaticCall(invoker, receiver, method, arguments)
    }

    @Override
    Object onNewInstance(GroovyInterceptor.Invoker invoker, Class receiver, Object... arguments) {
        asked << "new ${receiver.simpleName}".toString()
        return super.onNewInstance(invoker, receiver, arguments)
    }

    @Override
    Object onGetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property) {
        note(receiver, property)
        return super.onGetProperty(invoker, receiver, property)
    }

    @Override
    Object onSetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property, Object value) {
        note(receiver, property + '=')
        return super.onSetProperty(invoker, receiver, property, value)
    }

}

class Reader extends ObjectInputStream {

    private final ClassLoader loader

    Reader(InputStream bytes, ClassLoader loader) {
        super(bytes)
        this.loader = loader
    }

    @Override
    protected Class<?> resolveClass(ObjectStreamClass description) {
        try {
            return Class.forName(description.name, false, loader)
        } catch (ClassNotFoundException ignored) {
            return super.resolveClass(description)
        }
    }

}
