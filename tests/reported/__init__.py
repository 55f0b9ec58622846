"""Faults that were reported (issue 13), a file a kind: where each of its 40 items is tested, with two cases or more.

| items | tests |
|---|---|
| 1, 2 | `test_audio_in`, `test_api_audio` |
| 3 | `test_cut_off` (compressed, rare containers, streams, Ogg), `test_audio_in` (uncompressed) |
| 4 | `test_audio_in`, `test_scoring` |
| 5, 40 | `test_scoring` |
| 6, 7, 8 | `test_audio_in` |
| 9, 10, 12, 24 | `test_results`, `test_replaced`; 24 also `tests/files/test_scratch` |
| 11, 25 | `test_terminal` |
| 13 | `test_storages` (foreign), `test_edited` (edited) |
| 14, 18, 19, 27, 30, 32 | `test_storages`; 32 also `tests/storage/test_postgresql` |
| 17, 23 | `test_lost_trials` |
| 15, 20, 33, 36, 39 | `test_searches`; 33 also `test_storages` (a deleted database), 36 `tests/proof/test_reproduce` |
| 16 | `tests/search/test_pruners` (`surer`) |
| 21 | `test_lost_trials` (`taken_over`), `test_commands_at_once` (suspended processes, eleven at once) |
| 22 | `test_lost_trials` (forked loops), `test_commands_at_once` (sixteen commands) |
| 26, 31 | `test_documents` |
| 28 | `test_terminal`, `test_results`, `test_audio_in`, `test_edited` |
| 29 | `test_documents`, `test_results`, `test_edited` |
| 34 | `test_terminal`, `test_storages`, `test_documents`, `test_results` |
| 35, 37 | `test_offsets` |
| 38 | `tests/proof/test_notebook`, `test_searches` |
| 39 | `tests/proof/test_statistics`, `tests/proof/test_false_verdicts` |
"""
