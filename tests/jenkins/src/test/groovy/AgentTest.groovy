import java.nio.file.Files
import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

import static org.junit.jupiter.api.Assertions.assertEquals
import static org.junit.jupiter.api.Assertions.assertFalse
import static org.junit.jupiter.api.Assertions.assertTrue

/** What the steps hand to `sh` is really executed, as Jenkins would: `sh -xe`, in a workspace with a space in its name. */
class AgentTest extends DeclarativeTest {

    static final List<String> HOSTILE = [
        'two words', "single ' quote", 'double " quote', 'back`tick`', '$HOME ${WORKSPACE} $$ $(touch pwned)', '; touch pwned #',
        "line\nbreak\n", 'tab\there', 'back\\slash \\u0024', 'ünïcödé → 模型 🚀', '-rf', '--help', '*', '', ' ', '%s%n', '<b>&amp;</b>',
    ]

    @TempDir
    File folder
    File workspace
    /** A command that answers with its arguments and settings, in place of `mlops`. */
    String command = '#!/bin/sh\nexec python3 -c \'import json, os, sys; print(json.dumps({"argv": sys.argv[1:], "params": json.loads(os.environ["MLOPS_PARAMS"])}))\' "$@"\n'

    @Override
    protected int shell(Map step) {
        File script = new File(folder, 'script.sh')
        script.setText(step.script as String, 'UTF-8')
        ProcessBuilder builder = new ProcessBuilder('sh', '-xe', script.path).directory(workspace).redirectErrorStream(true)
        builder.environment().clear()
        builder.environment().putAll(environment as Map<String, String>)
        builder.redirectOutput(new File(folder, 'log.txt'))
        Process process = builder.start()
        assertTrue(process.waitFor(60, TimeUnit.SECONDS), 'the shell did not end')
        return process.exitValue()
    }

    @Override
    @BeforeEach
    void setUp() {
        super.setUp()
        workspace = new File(folder, 'my workspace')
        File temporary = new File(folder, 'my workspace@tmp')
        File bin = new File(folder, 'bin')
        [workspace, temporary, bin].each { it.mkdirs() }
        new File(bin, 'mlops').with { text = command; setExecutable(true) }
        environment.putAll([WORKSPACE: workspace.path, WORKSPACE_TMP: temporary.path, STAGE_NAME: 'Test',
                            PATH: "${bin.path}:${System.getenv('PATH')}".toString()])
        allow('writeFile', [Map]) { Map file ->
            new File(file.file as String).with { parentFile.mkdirs(); setText(file.text as String, 'UTF-8') }
        }
        allow('readFile', [Map]) { Map file -> new File(file.file as String).getText('UTF-8') }
        allow('echo', [String]) { String message -> note("echo: ${message}") }
    }

    private Map ask(String verb, Map settings) {
        binding.setVariable('verb', verb)
        binding.setVariable('settings', settings)
        return runScript('Ask') as Map
    }

    private String log() {
        return new File(folder, 'log.txt').getText('UTF-8')
    }

    @Test
    void everyValueArrivesAsItWasGiven() {
        Map settings = HOSTILE.findAll { it != '' }.withIndex().collectEntries { value, i -> ["key${i}".toString(), value] }
        settings += [project: HOSTILE.join('/'), number: 0.8, list: HOSTILE, flag: true]
        Map answer = ask('detect', settings + [empty: '', none: null])
        assertEquals(0, answer.exit, log())
        assertEquals(settings, answer.params)
        assertEquals(['detect', '--json'], answer.argv)
        assertFalse(new File(workspace, 'pwned').exists())
    }

    @Test
    void theRealCommandGetsEveryValueAsItWasGiven() {
        File project = new File(workspace, 'it\'s "a" $(touch pwned) `touch pwned` ; touch pwned\n模型')
        project.mkdirs()
        new File(project, 'train.py').text = 'from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n'
        String python = System.getenv('MLOPS_AGENT_PYTHON') ?: 'python3'
        new File(folder, 'bin/mlops').text = "#!/bin/sh\nPYTHONPATH='${ROOT.path}' exec '${python}' -m mlops_lib \"\$@\"\n"
        Map settings = [project: project.name, metric_pattern: '(\\d+) $HOME `x`', input: HOSTILE, args: HOSTILE]
        Map answer = ask('config', settings)
        assertEquals(0, answer.exit, log())
        assertEquals(HOSTILE, answer.settings.args.value)
        assertEquals(HOSTILE, answer.settings.input.value)
        assertEquals(settings.metric_pattern, answer.settings.metric_pattern.value)
        answer = ask('detect', settings)
        assertEquals([0, 'train.py', 'sklearn'], [answer.exit, answer.entry, answer.framework], log())
        assertFalse(new File(workspace, 'pwned').exists())
    }

    @Test
    void theProjectIsTheWorkspaceUnlessGiven() {
        assertEquals([project: '.'], ask('judge', [:]).params)
    }

    @Test
    void theWatchdogEndsByItselfOrWhenTheBuildHasFailed() {
        assertEquals(0, ask('watch', [:]).exit)
        new File(folder, 'bin/mlops').text = '#!/bin/sh\ntouch started\nexec sleep 600\n'
        Thread failing = Thread.start {
            while (!new File(workspace, 'started').exists()) { Thread.sleep(20) }
            new File("${environment.WORKSPACE_TMP}/mlops-${build.startTimeInMillis}/ended").text = ''
        }
        assertEquals(0, ask('watch', [:]).exit)
        failing.join()
    }

    @Test
    void theExitCodeIsTheCommandsOwn() {
        new File(folder, 'bin/mlops').text = '#!/bin/sh\necho \'{"verdict": "rejected"}\'; echo "a log line" >&2; exit 6\n'
        assertEquals([verdict: 'rejected', exit: 6], ask('judge', [:]))
        assertEquals('a log line\n', log()) // nothing of the script is traced into the build's log
    }

    @Test
    void anAgentWithoutAHomeGetsOneBesideTheWorkspace() {
        new File(folder, 'bin/mlops').text = '#!/bin/sh\nprintf \'{"home": "%s"}\' "$HOME"\n'
        [null, '/', '/nowhere'].each { home ->
            environment.remove('HOME')
            if (home) { environment.HOME = home }
            String expected = home == '/' && new File('/').canWrite() ? '/' : environment.WORKSPACE_TMP + '/mlops-home'
            assertEquals(expected, ask('detect', [:]).home, log())
        }
    }

    @Test
    void anAgentWithoutMlopsSaysWhatToSet() {
        Files.delete(new File(folder, 'bin/mlops').toPath())
        environment.PATH = '/usr/bin:/bin'
        Map answer = ask('detect', [:])
        assertEquals(2, answer.exit)
        assertTrue(answer.summary.contains('MLOPS_PACKAGE'), answer.summary as String) // what the build shows
        assertTrue(log().contains('MLOPS_PACKAGE'), log())
    }

    @Test
    void anAgentWithoutPythonSaysSo() {
        environment.PATH = new File(folder, 'empty').with { mkdirs(); new File(it, 'mkdir').text = ''; path }
        environment.putAll([HOME: folder.path, MLOPS_PACKAGE: 'mlops_lib==1.0'])
        assertEquals(2, ask('detect', [:]).exit)
        assertTrue(log().contains('no Python of 3.10 or newer'), log())
    }

}
