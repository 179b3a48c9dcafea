import groovy.json.JsonOutput
import java.util.stream.Stream
import org.junit.jupiter.api.Test
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.Arguments
import org.junit.jupiter.params.provider.MethodSource

import static org.junit.jupiter.api.Assertions.assertEquals
import static org.junit.jupiter.api.Assertions.assertTrue

/**
 * Whole builds against the journals in src/test/resources/golden: the reference Jenkinsfile and the one line of a model
 * repository do the same.
 */
class PipelineTest extends DeclarativeTest {

    static final Map REJECTED = [verdict: 'rejected', metric: 'accuracy', value: 0.7100000143, target: 0.8,
                                 reasons: ['accuracy 0.71 is below the bar of 0.8']]
    static final Map ACCEPTED = [verdict: 'accepted', metric: 'accuracy', value: 0.93, target: 0.8, champion: 0.91]
    static final Map UNDECIDED = [verdict: 'undecided', target: 0.8, reasons: ['no metric was found']]

    static final Map<String, Map> BUILDS = [
        'accepted'           : [judge: [answer(0, ACCEPTED)]],
        'watchdog-restarted' : [judge: [answer(0, ACCEPTED)], watch: [answer(0, [restarts: 2])]],
        'watchdog-failed'    : [judge: [answer(0, ACCEPTED)], watch: [answer(7)]],
        'accepted-by-search' : [judge: [answer(6, REJECTED), answer(0, ACCEPTED)]],
        'rejected'           : [judge: [answer(6, REJECTED)]],
        'undecided'          : [judge: [answer(10, UNDECIDED)]],
        'nothing-to-train'   : [detect: [answer(3, [error: [what: 'no training code was found']])]],
        'training-failed'    : [train: [answer(5)]],
        'search-failed'      : [judge: [answer(6, REJECTED)], search: [answer(8)]],
        'nobody-told'        : [judge: [answer(0, ACCEPTED)], notify: [answer(9, [error: [what: 'the mail server refused']])]],
        'aborted'            : [train: ['abort']],
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
    void whatThePersonTypesGoesOverWhatTheOneLineSays() {
        given(target: '0.95')
        run('OneLine')
        assertTrue(shells.every { it.env.MLOPS_PARAMS.contains('"target":"0.95"') || it.env.MLOPS_VERB == 'stop' })
    }

    @Test
    void secretsOfTheOperatorReachNotifyOnly() {
        environment.MLOPS_CREDENTIALS = 'MLOPS_SLACK_WEBHOOK=slack, MLOPS_SMTP_PASSWORD=mail'
        run('Jenkinsfile')
        assertEquals(['withCredentials MLOPS_SLACK_WEBHOOK=slack MLOPS_SMTP_PASSWORD=mail'],
                     journal*.trim().findAll { it.startsWith('withCredentials') })
    }

    @Test
    void aBareJenkinsWithoutHtmlPublisherKeepsTheReportAsAnArtifact() {
        allow('publishHTML', [Map]) { throw new NoSuchMethodError("No such DSL method 'publishHTML' found among steps") }
        run('Jenkinsfile')
        assertTrue(journal*.trim().contains('echo: The model report is among the artifacts: .mlops/results/index.html'))
        assertEquals('SUCCESS', build.currentResult)
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
