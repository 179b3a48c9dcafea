import java.util.concurrent.TimeUnit
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

import static org.junit.jupiter.api.Assertions.assertEquals
import static org.junit.jupiter.api.Assertions.assertTrue

/**
 * The reference Jenkinsfile with the real command: every `sh` is executed in a workspace that holds this checkout, the
 * command is installed on the agent by the step itself, and a sample is trained that misses its bar as written.
 */
class RealBuildTest extends DeclarativeTest {

    /** Environments are kept between test runs; what a build leaves (runs, registry, processes) is not. */
    static File HOME = new File('target/mlops-home').absoluteFile

    @TempDir
    File folder
    File workspace
    List<Process> watchdogs = []
    Map<String, File> logs = [:]
    /** How often `mlops train` is killed once its container runs. */
    int kills = 0

    @Override
    @BeforeEach
    void setUp() {
        super.setUp()
        HOME.mkdirs()
        HOME.listFiles().findAll { !(it.name in ['jenkins', 'environments']) }.each { it.isDirectory() ? it.deleteDir() : it.delete() }
        workspace = new File(folder, 'my workspace')
        copy('mlops_lib', 'containers', 'pyproject.toml', 'setup.py', 'README.md', 'LICENSE', 'model_repo/digits_tree')
        new File(workspace, 'json.py').text = 'raise SystemExit("code of the pushed project ran on the agent")'
        File temporary = new File(folder, 'my workspace@tmp')
        temporary.mkdirs()
        environment.putAll([WORKSPACE: workspace.path, WORKSPACE_TMP: temporary.path, MLOPS_HOME: HOME.path,
                            MLOPS_BACKEND: System.getenv('MLOPS_TEST_BACKEND') ?: 'process', MLOPS_NOTIFY: 'never'])
        ['PATH', 'HOME', 'LANG', 'SSL_CERT_FILE', 'PIP_INDEX_URL', 'PIP_CERT', 'UV_INDEX_URL', 'UV_DEFAULT_INDEX', 'http_proxy',
         'https_proxy', 'no_proxy', 'MLOPS_AGENT_PYTHON'].findAll { System.getenv(it) }.each { environment[it] = System.getenv(it) }
        allow('writeFile', [Map]) { Map file ->
            new File(file.file as String).with { parentFile.mkdirs(); setText(file.text as String, 'UTF-8') }
        }
        allow('readFile', [Map]) { Map file -> new File(file.file as String).getText('UTF-8') }
    }

    private void copy(String... paths) {
        paths.findAll { new File(ROOT, it).exists() }.each { path ->
            File target = new File(workspace, path)
            target.parentFile.mkdirs()
            assertEquals(0, ['cp', '-R', new File(ROOT, path).path, target.path].execute().waitFor())
        }
    }

    /** Executes the script; the watchdog, which Jenkins runs beside the training, goes on in the background. */
    @Override
    protected int shell(Map step) {
        String verb = environment.MLOPS_VERB
        logs[verb] = new File(folder, "${verb}.log")
        File script = new File(folder, "${verb}.sh")
        script.setText(step.script as String, 'UTF-8')
        ProcessBuilder builder = new ProcessBuilder('sh', '-xe', script.path).directory(workspace).redirectErrorStream(true)
        builder.environment().clear()
        builder.environment().putAll(environment.collectEntries { key, value -> [key as String, value as String] })
        builder.redirectOutput(logs[verb])
        Process process = builder.start()
        if (verb == 'train' && kills > 0) {
            kills--
            killWhenUnderWay(process)
        }
        if (verb == 'watch') {
            watchdogs << process
            return 0
        }
        assertTrue(process.waitFor(500, TimeUnit.SECONDS), "mlops ${verb} did not end")
        note("mlops ${verb} → ${process.exitValue()}")
        return process.exitValue()
    }

    /** As the kernel does that is out of memory: the command is gone, its container is not. */
    private void killWhenUnderWay(Process train) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(120)
        while (attempts().isEmpty() && train.alive && System.nanoTime() < deadline) { Thread.sleep(50) }
        train.destroyForcibly()
    }

    /** The starts of the run's container. */
    private List<String> attempts() {
        File[] runs = new File(HOME, 'runs').listFiles()
        File lines = runs ? new File(runs[0], 'attempts.jsonl') : null
        return lines?.exists() ? lines.readLines().findAll { it.contains('"event": "attempt"') } : []
    }

    private void assertWatchdogEnded() {
        assertEquals(1, watchdogs.size())
        assertTrue(watchdogs[0].waitFor(30, TimeUnit.SECONDS), 'the watchdog outlived the build')
    }

    private String story() {
        return journal.join('\n') + logs.collect { verb, file -> "\n--- ${verb}\n${file.text}" }.join('')
    }

    @Test
    void aSampleThatMissesItsBarIsTweakedUntilItMeetsIt() {
        given(project: 'model_repo/digits_tree', trials: '8', minutes: '2')
        run('Jenkinsfile')
        assertEquals('SUCCESS', build.currentResult, story())
        assertTrue(build.description.startsWith('accepted: accuracy 0.8'), story())
        List verbs = journal*.trim().findAll { it.startsWith('mlops ') }
        assertEquals(['mlops detect → 0', 'mlops build → 0', 'mlops train → 0', 'mlops judge → 6', 'mlops search → 0',
                      'mlops judge → 0', 'mlops register → 0', 'mlops notify → 0', 'mlops stop → 0', 'mlops report → 0'], verbs)
        List results = new File(workspace, '.mlops/results').list() as List
        assertTrue(results.containsAll(['report', 'junit.xml', 'verdict.json', 'model.joblib']), results.toString())
        String report = new File(workspace, '.mlops/results/report/index.html').getText('UTF-8')
        assertTrue(report.contains('Registered as') && report.contains('version 1'), story())
        assertWatchdogEnded()
    }

    @Test
    void aScriptThatFailsIsAFailedBuildWithItsReason() {
        new File(workspace, 'model_repo/digits_tree/tree.py').with { text = text.replace('clf.fit(', 'clf.fit(X_train[:5], ') }
        given(project: 'model_repo/digits_tree')
        run('Jenkinsfile')
        assertEquals('FAILURE', build.currentResult, story())
        assertTrue(build.description.startsWith('Train: ') && build.description.contains('(mlops train: exit 5)'), story())
        assertTrue(logs.train.text.contains('Traceback'), story())
        assertTrue(journal*.trim().contains('mlops notify → 0'), story())
        assertWatchdogEnded()
    }

    @Test
    void aKilledCommandIsStartedAgainAndTheRunIsTrainedOnce() {
        new File(workspace, 'model_repo/digits_tree/tree.py').with { text = 'import time\ntime.sleep(8)\n' + text }
        kills = 1
        given(project: 'model_repo/digits_tree', trials: '0')
        run('Jenkinsfile')
        List verbs = journal*.trim().findAll { it.startsWith('mlops train') || it.startsWith('mlops judge') }
        assertEquals(['mlops train → 137', 'mlops train → 0', 'mlops judge → 6'], verbs, story())
        assertEquals('UNSTABLE', build.currentResult, story())
        assertEquals(1, attempts().size(), story())
        assertWatchdogEnded()
    }

    @Test
    void aBuildThatFailsBeforeThereIsARunDoesNotWaitForItsWatchdog() {
        given(project: 'model_repo/digits_tree')
        answersOnly('train', 7)
        run('Jenkinsfile')
        assertEquals('FAILURE', build.currentResult, story())
        assertWatchdogEnded()
    }

    /** Replaces one verb's execution by an exit code. */
    private void answersOnly(String verb, int exit) {
        Closure execute = this.&shell
        allow('sh', [Map]) { Map step -> environment.MLOPS_VERB == verb ? exit : execute(step) }
    }

}
