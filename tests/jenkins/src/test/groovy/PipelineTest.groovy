import groovy.json.JsonOutput
import java.util.stream.Stream
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.Arguments
import org.junit.jupiter.params.provider.MethodSource

import static org.junit.jupiter.api.Assertions.assertEquals
import static org.junit.jupiter.api.Assertions.assertFalse
import static org.junit.jupiter.api.Assertions.assertTrue

/**
 * Whole builds against the journals in src/test/resources/golden: the reference Jenkinsfile and the one line of a model
 * repository do the same.
 */
class PipelineTest extends DeclarativeTest {

    static final Map REJECTED = [verdict: 'rejected', search: true, summary: 'rejected: accuracy 0.7100, bar 0.8000', badge: 'accuracy 0.7100',
                                 reasons: ['accuracy 0.71 is below the bar of 0.8']]
    static final Map ACCEPTED = [verdict: 'accepted', badge: 'accuracy 0.9300',
                                 summary: 'accepted: accuracy 0.9300, bar 0.8000, champion 0.9100']
    static final Map UNDECIDED = [verdict: 'undecided', badge: 'undecided', summary: 'undecided: no metric -, bar 0.8000',
                                  reasons: ['no metric was found']]

    static final Map<String, Map> BUILDS = [
        'accepted'           : [judge: [answer(0, ACCEPTED)]],
        'watchdog-restarted' : [judge: [answer(0, ACCEPTED)], watch: [answer(0, [restarts: 2])]],
        'agent-restarted'    : [train: [[-1, ''], answer(0)], judge: [answer(0, ACCEPTED)]],
        'command-killed'     : [train: [[137, ''], answer(0)], watch: [[143, ''], answer(0)], judge: [answer(0, ACCEPTED)]],
        'killed-each-time'   : [train: [[137, '']]],
        'engine-missing'     : [build: [answer(7, [summary: 'the container engine does not answer'])]],
        'watchdog-failed'    : [judge: [answer(0, ACCEPTED)], watch: [answer(7)]],
        'accepted-by-search' : [judge: [answer(6, REJECTED), answer(0, ACCEPTED)]],
        'rejected'           : [judge: [answer(6, REJECTED)]],
        'undecided'          : [judge: [answer(10, UNDECIDED)]],
        'nothing-to-train'   : [detect: [answer(3, [summary: 'no training code was found'])]],
        'training-failed'    : [train: [answer(5)]],
        'search-failed'      : [judge: [answer(6, REJECTED)], search: [answer(8)]],
        'nobody-told'        : [judge: [answer(0, ACCEPTED)], notify: [answer(9, [summary: 'the mail server refused'])]],
        'aborted'            : [train: ['abort'], stop: [answer(0, [summary: 'stopped at epoch 61 of 100; goes on there next time'])]],
    ]

    static List answer(int exit, Map record = [:]) {
        return [exit, JsonOutput.toJson(record)]
    }

    static Stream<Arguments> builds() {
        return BUILDS.keySet().collectMany { name ->
            ['Jenkinsfile', 'OneLine'].collect { Arguments.of(name, it) }
        }.stream()
    }

    @ParameterizedTest(name = '{0} by {1}')
    @MethodSource('builds')
    void buildIsAsDesigned(String name, String script) {
        answers.putAll(BUILDS[name].collectEntries { verb, list -> [verb, new ArrayList(list)] })
        given(project: 'model_repo/digits')
        run(script)
        assertGolden(name)
    }

    @Test
    void aPullRequestIsNotRegistered() {
        answers.judge = [answer(0, ACCEPTED)]
        environment.putAll([BRANCH_NAME: 'PR-3', CHANGE_TARGET: 'main'])
        run('Jenkinsfile')
        assertEquals('SUCCESS', build.currentResult)
        assertFalse(shells*.env.MLOPS_VERB.contains('register'))
    }

    @Test
    void withoutTrialsTheFirstVerdictCounts() {
        answers.judge = [answer(6, REJECTED + [search: false])]
        run('Jenkinsfile')
        assertFalse(shells*.env.MLOPS_VERB.contains('search'))
        assertEquals('UNSTABLE', build.currentResult)
    }

    @Test
    void theSearchGoesToAnAgentOfItsOwn() {
        answers.judge = [answer(6, REJECTED), answer(0, ACCEPTED)]
        given(worker_label: 'gpu')
        run('Jenkinsfile')
        List<String> lines = journal*.trim()
        assertEquals(['node gpu', 'checkout'], lines.subList(lines.indexOf('node gpu'), lines.indexOf('node gpu') + 2))
        assertTrue(lines[lines.indexOf('checkout') + 1].startsWith('mlops search'))
    }

    @Test
    void agentsJoinTheClusterOfASearchWithSeveralWorkers() {
        answers.judge = [answer(6, REJECTED), answer(0, ACCEPTED)]
        answers.cluster = [answer(0, [address: '10.0.0.5:6379', token: 'abc'])]
        answers.work = [answer(0), answer(7, [error: [what: 'the container engine does not answer']])]
        allow('parallel', [Map]) { Map branches -> branches.each { name, body -> note("branch ${name}"); body() } }
        allow('catchError', [Map, Closure]) { Map how, Closure body ->
            try { body() } catch (Failed reason) { note("caught: ${reason.message}") }
        }
        given(worker_label: 'gpu', workers: '2')
        run('Jenkinsfile')
        List<String> lines = journal*.trim()
        assertEquals(['branch search', 'branch worker 1', 'node gpu', 'branch worker 2', 'node gpu'],
                     lines.findAll { it.startsWith('branch ') || it in ['node gpu', 'checkout'] })
        assertTrue(lines.find { it.startsWith('mlops search') }.contains('"on":"head://10.0.0.5:6379"'))
        assertEquals(2, lines.count { it.startsWith('mlops work') && it.contains('"on":"10.0.0.5:6379"') })
        assertTrue(shells.findAll { it.env.MLOPS_VERB in ['search', 'work'] }.every { it.env.RAY_AUTH_TOKEN == 'abc' })
        assertEquals('SUCCESS', build.currentResult)
    }

    @Test
    void whatThePersonTypesGoesOverWhatTheOneLineSays() {
        given(target: '0.95')
        run('OneLine')
        assertTrue(shells.every { it.env.MLOPS_PARAMS.contains('"target":"0.95"') || it.env.MLOPS_VERB == 'stop' })
    }

    @Test
    void secretsOfTheOperatorReachTheVerbsThatTellPeople() {
        environment.MLOPS_CREDENTIALS = 'MLOPS_SLACK_TOKEN=slack, MLOPS_SMTP_URL=mail'
        answers.judge = [answer(6, REJECTED), answer(0, ACCEPTED)]
        run('Jenkinsfile')
        assertEquals(['watch', 'train', 'search', 'notify'], told())
        assertEquals(['withCredentials MLOPS_SLACK_TOKEN=slack MLOPS_SMTP_URL=mail'],
                     journal*.trim().findAll { it.startsWith('withCredentials') }.unique())
    }

    /** The verbs that ran with secrets. */
    private List<String> told() {
        List<String> lines = journal*.trim()
        return lines.withIndex().findAll { line, i -> i > 0 && lines[i - 1].startsWith('withCredentials') && line.startsWith('mlops ') }
                    .collect { line, i -> line.split(' ')[1] }
    }

    @Test
    void nothingOfAPullRequestRunsBesideSecrets() {
        environment.putAll([MLOPS_CREDENTIALS: 'MLOPS_SLACK_TOKEN=slack', CHANGE_TARGET: 'main'])
        run('Jenkinsfile')
        assertEquals(['notify'], told())
    }

    @Test
    void aSecretThatIsMissingMarksTheNotificationAndNothingElse() {
        environment.MLOPS_CREDENTIALS = 'MLOPS_SLACK_TOKEN=slack'
        answers.judge = [answer(0, ACCEPTED)]
        allow('withCredentials', [List, Closure]) { List bindings, Closure body -> throw new MissingSecret('no entry slack') }
        run('Jenkinsfile')
        assertEquals('SUCCESS', build.currentResult)
        assertTrue(journal*.trim().containsAll(['echo: Nobody is told before the end: no entry slack',
                                                'caught: Could not send notifications: no entry slack']), journal.join('\n'))
    }

    @Test
    void anAgentWithoutTheCommandIsToldWhereTheLibraryComesFrom() {
        environment.putAll(['library.other.version': 'v9', 'library.mlops.version': 'v1'])
        binding.setVariable('jenkins', [model: [GlobalConfiguration: new Configurations(all: [new Object(), new GlobalLibraries(libraries: [
            [name: 'other', retriever: [scm: new GitSource(remote: 'git@git.example.com:team/other.git')]],
            [name: 'unused', retriever: [scm: new GitSource(remote: 'git@git.example.com:team/unused.git')]],
            [name: 'mlops', retriever: [scm: new GitSource(remote: 'git@git.example.com:team/mlops.git')]]])])]])
        run('OneLine')
        assertEquals(['git+git@git.example.com:team/mlops.git@v1'], shells*.env.MLOPS_ORIGIN.unique())
        shells.clear()
        environment.MLOPS_PACKAGE = 'mlops_lib==1'
        run('OneLine')
        assertEquals([''], shells*.env.MLOPS_ORIGIN.unique())
    }

    @Test
    void aBareJenkinsWithoutHtmlPublisherKeepsTheReportAsAnArtifact() {
        allow('publishHTML', [Map]) { throw new NoSuchMethodError("No such DSL method 'publishHTML' found among steps") }
        run('Jenkinsfile')
        assertTrue(journal*.trim().contains('echo: Without the HTML Publisher plugin the report is among the artifacts: .mlops/results/report/index.html'))
        assertEquals('SUCCESS', build.currentResult)
    }

    @Test
    void theVerdictIsPublishedAsACheckAndAComment() {
        answers.report = [answer(0, [artifacts: '.mlops/results', check: [name: 'mlops / digits', title: 'accuracy 0.9300, accepted; +0.0200 against main'], comment: 'the verdict'])]
        environment.putAll([CHANGE_ID: '3', CHANGE_TARGET: 'main'])
        given(comment: 'true')
        run('Jenkinsfile')
        assertTrue(journal*.trim().containsAll(['publishChecks accuracy 0.9300, accepted; +0.0200 against main', 'addGitLabMRComment the verdict']))
        journal.clear()
        parameters.comment = ''
        run('Jenkinsfile')
        assertFalse(journal*.trim().any { it.startsWith('addGitLabMRComment') })
    }

    @Test
    void whatAPushHasPutInPlaceOfTheResultsIsNotPublished() {
        answers.report = [answer(2, [summary: 'it is a link'])]
        answers.judge = [answer(0, ACCEPTED)]
        run('Jenkinsfile')
        List steps = journal*.trim()
        assertFalse(steps.any { it.startsWith('junit') || it.startsWith('archiveArtifacts') || it.startsWith('publishHTML') }, steps.join('\n'))
        assertTrue(steps.contains('echo: No results are published: it is a link'), steps.join('\n'))
    }

    @Test
    void anAbortThatReachedTheWatchdogFirstIsNoReasonToTrainAgain() {
        answers.watch = ['abort']
        answers.train = [[143, ''], answer(0)]
        run('Jenkinsfile')
        assertEquals('ABORTED', build.currentResult)
        assertEquals(1, shells.count { it.env.MLOPS_VERB == 'train' })
    }

    @Test
    void whatAPluginRefusesChangesNothing() {
        answers.report = [answer(0, [artifacts: '.mlops/results', check: [title: 'accepted']])]
        answers.judge = [answer(0, ACCEPTED)]
        allow('publishChecks', [Map]) { throw new IOException('no credentials') }
        allow('recordIssues', [Map]) { throw new NoSuchMethodError("No such DSL method 'recordIssues' found among steps") }
        run('Jenkinsfile')
        assertEquals('SUCCESS', build.currentResult)
        assertTrue(journal*.trim().containsAll([
            'echo: The Checks API plugin refused: no credentials; the verdict is in the description',
            'echo: Without the Warnings plugin the warnings are among the artifacts: .mlops/results/warnings.sarif']), journal.join('\n'))
    }

    @Test
    void theShellIsConstant() {
        given(project: '$(reboot)', notify: "'; reboot; '")
        run('Jenkinsfile')
        assertEquals([new File(ROOT, 'resources/mlops/agent.sh').text], shells*.script.unique())
    }

    @Test
    void noValueHoldsADollarThatALayerCouldExpand() {
        given(project: 'a$HOME${WORKSPACE}$$')
        run('Jenkinsfile')
        assertTrue(shells.every { !it.env.MLOPS_PARAMS.contains('$') })
    }

}

/** As Jenkins throws it: a missing credential is an IOException. */
class MissingSecret extends IOException {
    MissingSecret(String message) { super(message) }
}

/** As much of Jenkins' objects as tell where a library comes from, by their names there. */
class GlobalLibraries { List libraries }

class GitSource { String remote }

class Configurations {
    List all
    List all() { all }
}
