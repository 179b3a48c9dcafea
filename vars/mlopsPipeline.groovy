/**
 * A complete pipeline for a model repository: the Jenkinsfile at the top of mlops' own repository, as one line.
 * Jenkins wants a declarative pipeline whole and in one place, so the stages are spelled out in both.
 */
void call(Map given = [:]) {
    Map job = [label: '', hours: 12] + given // the command refuses what nobody knows
    // In a branch's first build there are no parameters yet; all of them are empty then, too.
    Map settings = given + params.findAll { it.value }
    Map verdict = [:]

    pipeline {
        agent {
            node {
                label(job.label)
                retries 2 // an agent that is gone for good: the run goes on from its checkpoint on the next one
            }
        }
        parameters { // each is the setting of its name, over the Jenkinsfile's; an empty one is not given
            string(name: 'target', trim: true, description: 'The bar to reach, e.g. 0.9 (empty: the project\'s own, or 0.8)')
            string(name: 'trials', trim: true, description: 'Most candidates of the search (empty: the default)')
            string(name: 'minutes', trim: true, description: 'Most minutes of the search (empty: the default)')
            string(name: 'notify', trim: true, description: 'When people are told: change, always or never (empty: the default)')
        }
        options {
            timestamps()
            timeout(time: job.hours + 2, unit: 'HOURS')
            disableConcurrentBuilds()
            buildDiscarder(logRotator(numToKeepStr: '30', artifactNumToKeepStr: '10'))
        }
        stages {
            stage('Detect environment') {
                steps {
                    mlops('detect', settings)
                }
            }
            stage('Build image') {
                steps {
                    mlops('build', settings)
                }
            }
            stage('Model') {
                options { // here, so that what comes after has all the time it needs
                    timeout(time: job.hours, unit: 'HOURS')
                }
                parallel {
                    stage('Watchdog') {
                        steps {
                            mlopsWatch(settings)
                        }
                    }
                    stage('Train and tweak') {
                        stages {
                            stage('Train') {
                                steps {
                                    mlops('train', settings)
                                }
                            }
                            stage('Gate') {
                                steps {
                                    script {
                                        verdict = mlops('judge', settings)
                                        if (!verdict.search) {
                                            mlopsVerdict(verdict)
                                        }
                                    }
                                }
                            }
                            stage('Tweak & retrain') {
                                when {
                                    expression { verdict.search == true }
                                }
                                steps {
                                    mlopsSearch(settings)
                                    script {
                                        verdict = mlops('judge', settings)
                                        mlopsVerdict(verdict)
                                    }
                                }
                            }
                        }
                        post {
                            always {
                                script {
                                    mlopsWatch.end()
                                }
                            }
                        }
                    }
                }
            }
            stage('Register') {
                when {
                    not {
                        changeRequest()
                    }
                    expression { currentBuild.currentResult == 'SUCCESS' }
                }
                steps {
                    mlops('register', settings)
                }
            }
            stage('Notify') {
                steps {
                    mlopsNotify(settings)
                }
            }
        }
        post {
            failure {
                mlopsNotify(settings)
            }
            cleanup { // the last of all: people are told first
                mlopsResults(settings)
            }
        }
    }
}
