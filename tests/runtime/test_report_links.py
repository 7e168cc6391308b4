"""Which runs of a report lead to MLflow: those that the home's own store has, at the page that `kdharness ui` shows."""

import sqlite3

from tiny_study import ask, wanted

from kdharness.runtime.reports import mlflow_links


def test_a_mirrored_run_leads_to_its_page_while_it_is_there(store, home):
    ids = ask(store, wanted())
    assert mlflow_links(store, ["tiny"]) == {}, "nothing was mirrored yet"
    _, rows = store.query("SELECT study_run_id, run_id FROM study_runs ORDER BY run_id")
    for number, (study_run_id, _) in enumerate(rows[:2]):
        store.mirror_save(study_run_id, external_id=f"m{number}", logged_epoch=0, finished=False)
    assert store.mirrored("tiny") == {rows[0][1]: "m0", rows[1][1]: "m1"}
    connection = sqlite3.connect(home.mlflow)
    connection.execute("CREATE TABLE runs (run_uuid, experiment_id, lifecycle_stage)")
    connection.execute("INSERT INTO runs VALUES ('m0', 3, 'active'), ('m1', 3, 'deleted'), ('other', 4, 'active')")
    connection.commit()
    connection.close()
    assert mlflow_links(store, ["tiny"]) == {rows[0][1]: "http://127.0.0.1:5000/#/experiments/3/runs/m0"}
    assert rows[0][1] in ids.values()
    home.mlflow.write_bytes(b"no database at all")
    assert mlflow_links(store, ["tiny"]) == {}, "a report needs no mirror"
