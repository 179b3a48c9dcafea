#!/bin/sh
# Makes the secrets that are missing and starts the whole Jenkins. Run again after any change.
set -eu
cd "$(dirname "$0")"
export COMPOSE_PROJECT_NAME=mlops-jenkins

mkdir -p secrets
chmod 700 secrets
if [ ! -f secrets/MLOPS_AGENT_KEY ]; then
    ssh-keygen -q -t ed25519 -N '' -C mlops-agent -f secrets/MLOPS_AGENT_KEY
fi
if [ ! -f secrets/JENKINS_ADMIN_PASSWORD ]; then
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >secrets/JENKINS_ADMIN_PASSWORD
fi
if [ ! -f secrets/MLOPS_SLACK_WEBHOOK ]; then
    : >secrets/MLOPS_SLACK_WEBHOOK # an incoming webhook's address; empty: no Slack
fi
chmod 644 secrets/* # the folder keeps others out; inside the containers the users are other ones

MLOPS_AGENT_PUBKEY=$(cat secrets/MLOPS_AGENT_KEY.pub)
export MLOPS_AGENT_PUBKEY
docker compose build
# The data folder belongs to the agent's user, and has the same path inside and outside.
docker compose run --rm --no-deps --user root --entrypoint chown agent jenkins "${MLOPS_DATA:-/srv/mlops}"
docker compose up --detach "$@"
printf 'Jenkins: http://localhost:%s  user admin, password in %s/secrets/JENKINS_ADMIN_PASSWORD\n' "${JENKINS_PORT:-8080}" "$PWD"
