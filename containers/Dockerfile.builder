# What a source distribution is built in: the base image, and wheels of what its build asks for, which were downloaded here and
# are installed there. The archive comes in when the container is made; it runs without network and as nobody.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
COPY requires.txt fetch.py /mlops/
RUN @DOWNLOADING@ python -I /mlops/fetch.py /mlops/wheels --ignore-installed -r /mlops/requires.txt
RUN mkdir -p /mlops/in /mlops/out && chmod 1777 /mlops/out
WORKDIR /tmp
