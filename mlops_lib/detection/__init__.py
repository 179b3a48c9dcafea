"""Detect what a project's code is and what it needs, from its syntax trees.

source                 decode a file and parse as much of it as can be parsed
facts                  what one file contains: imports, calls by full name, data paths
visitor                syntax tree -> facts, with
  name_resolution      what names mean, through imports, assignments and attributes
  imports, call_notes  what imports and single calls say
  patterns             structures that no single call names
tables                 library names and their meaning; symbols looks a name up in them
classify               framework and model families of one file
api_generation         generation of the framework's API that the code was written for
import_map             import names -> distributions
declared_requirements  requirements that the project itself declares
system_packages        programs that the code starts -> Debian packages
files                  the project's files and local modules; reachability: which of their code runs
entry                  which file trains
missing_data           data that the entry reads and that is not there
result_cache           results of large projects, remembered by their content
report                 assemble everything reported about an entry
project                the whole way, from a path to a Detection

Detection of one script must feel instant, so these modules load nothing that they may not need:
no dataclasses, no typing, patterns compiled at first use.
"""

from __future__ import annotations

from mlops_lib.detection.project import detect

__all__ = ["detect"]
