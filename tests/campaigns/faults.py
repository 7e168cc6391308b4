"""The faults that `make chaos` and the tests provoke, by number: what each is, and the tests that turn red for it.

The names of the campaign's parts and of README's rows give these numbers.
"""

CHAOS = "tests/campaigns/chaos/test_chaos.py::test_nothing_is_lost_doubled_or_wrong"
POINTS = "tests/campaigns/chaos/test_chaos.py::test_every_durable_step_may_fail"
CLAIMS = "tests/results/test_store_claims.py::"
COMMITS = "tests/results/test_commits.py::"
DATABASE = "tests/results/test_store_database.py::"
BACKUP = "tests/results/test_store_backup.py::"
DEVICES = "tests/runtime/test_devices.py::"
DOCTOR = "tests/runtime/test_doctor.py::"
DOCUMENTS = "tests/study/test_study_documents.py::"
FILES = "tests/training/test_files.py::"
FOLDER = "tests/datasets/test_folder.py::"
JOBS = "tests/runtime/test_training_jobs.py::"
KILLS = "tests/runtime/test_kills.py::"
LOOP = "tests/runtime/test_run_loop.py::"
MIRROR = "tests/runtime/test_mirror_process.py::"
PUBLISHING = "tests/runtime/test_publishing.py::"
RELEASED = "tests/models/test_released_files.py::"
TEXTS = "tests/reporting/test_any_text.py::"
UPGRADES = "tests/migrations/test_killed_upgrades.py::"
WAITING = "tests/runtime/test_waiting.py::"

FAULTS: dict[int, tuple[str, ...]] = {
    1: ("a job is killed", KILLS + "test_killed_jobs_go_on_and_two_runners_share_the_study", CHAOS),
    2: ("a runner is killed", KILLS + "test_stopped_and_killed_runners_leave_no_process_and_a_study_that_goes_on"),
    3: ("everything is killed at once", CHAOS),
    4: ("SIGTERM", JOBS + "test_a_stopped_job_goes_on_to_the_same_weights"),
    5: ("Ctrl-C once, twice, three times", "tests/runtime/test_terminal.py::test_ctrl_c_once_saves_and_twice_stops_now",
        "tests/runtime/test_leases_and_signals.py::test_the_third_ctrl_c_ends_the_process_where_it_stands"),
    6: ("SIGUSR1, SIGUSR2, SIGHUP", "tests/runtime/test_leases_and_signals.py::test_signals_are_wishes"),
    7: ("a job that ignores SIGTERM", LOOP + "test_jobs_that_do_not_stop_in_time_are_killed",
        "tests/runtime/test_executors.py::test_subprocess_executor"),
    8: ("a crash in native code, an exit without a result", LOOP
        + "test_a_run_that_dies_again_and_again_is_failed_after_three_attempts",
        "tests/runtime/test_executors.py::test_a_crash_in_native_code_leaves_its_stack_in_the_log"),
    9: ("the kernel ends a job for its memory", DEVICES
        + "test_the_kernel_s_word_and_the_peak_are_told_of_a_job_that_was_killed"),
    10: ("a GPU's memory is full", DEVICES + "test_out_of_memory_alone_is_not_tried_again_unless_asked"),
    11: ("a GPU is lost", DEVICES + "test_a_broken_device_is_quarantined_and_its_runs_go_on_elsewhere"),
    12: ("a job hangs", "tests/runtime/test_watchdog.py::test_a_job_that_hangs_leaves_its_stacks_and_ends"),
    13: ("the loss is NaN", JOBS + "test_a_diverged_run_ends_as_that_and_the_others_go_on"),
    14: ("runners started at once", LOOP + "test_two_runners_share_a_study", CHAOS),
    15: ("many writers at once", CLAIMS + "test_eight_processes_claim_each_run_once", CHAOS),
    16: ("stopped past its lease", PUBLISHING + "test_a_job_that_stood_still_does_not_replace_its_successors_weights",
         CLAIMS + "test_a_writer_whose_lease_was_reaped_writes_nothing", CHAOS),
    17: ("stopped inside a write", DATABASE + "test_the_gate_lets_one_in_at_a_time_and_names_who_stands_in_it", CHAOS),
    18: ("the wall clock jumps", CHAOS),
    20: ("pids are reused, machines reboot", CLAIMS + "test_an_owner_is_its_process_and_no_other",
         LOOP + "test_a_dead_owner_is_not_kept_alive_by_a_job_that_has_his_pid_now",
         CLAIMS + "test_the_lease_of_another_boot_has_expired"),
    21: ("a run that kills every job", CLAIMS + "test_three_attempts_without_a_checkpoint_fail_the_run"),
    22: ("killed while it writes a report or upgrades", FILES
         + "test_a_file_is_safe_before_its_name_and_its_name_before_anyone_is_told",
         UPGRADES + "test_an_upgrade_killed_at_any_statement_changed_nothing"),
    23: ("zombies, open files", CHAOS),
    24: ("killed between file, name and row", PUBLISHING + "test_a_name_without_a_row_is_nothing", POINTS),
    25: ("a power cut", "tests/runtime/test_power_cuts.py::"
         "test_after_a_power_cut_at_any_moment_what_was_committed_is_there"),
    26: ("the disk is full for a checkpoint", WAITING
         + "test_a_checkpoint_that_finds_no_room_is_written_later_with_the_same_bits"),
    27: ("the disk is full for the database", POINTS),
    28: ("fsync fails", FILES + "test_a_disk_that_refuses_leaves_the_earlier_file", POINTS),
    29: ("no more files may be opened", WAITING + "test_what_a_file_that_cannot_be_written_means",
         DOCTOR + "test_few_open_files"),
    30: ("a home that cannot be written, or vanishes", DOCTOR + "test_a_home_that_cannot_be_written",
         WAITING + "test_a_home_that_vanished_takes_no_commit"),
    31: ("a network file system", DATABASE + "test_a_network_file_system_is_refused"),
    32: ("a database copied while it is in use", BACKUP
         + "test_backups_made_while_runs_are_written_are_whole_and_ordered",
         DOCTOR + "test_a_database_of_another_version_or_none_or_a_copy"),
    33: ("a journal or `-wal` removed, two names of one database", COMMITS
         + "test_an_older_copy_in_the_same_file_is_noticed",
         COMMITS + "test_half_a_commit_without_its_journal_is_not_taken_for_a_whole",
         DATABASE + "test_a_database_with_two_names_is_refused"),
    34: ("a damaged database", BACKUP + "test_a_flipped_bit_never_becomes_a_wrong_number",
         BACKUP + "test_every_column_that_is_printed_has_its_checksum",
         DATABASE + "test_what_others_added_to_the_schema_is_not_run", CHAOS),
    35: ("an SQLite that corrupts in WAL mode", DATABASE + "test_the_journal_follows_the_library"),
    36: ("a foreign lock", DATABASE + "test_who_is_waited_for_is_told_again_and_again", CHAOS),
    37: ("a newer, older or half upgraded database", DATABASE + "test_a_newer_database_is_refused",
         UPGRADES + "test_an_upgrade_killed_at_any_statement_changed_nothing",
         UPGRADES + "test_upgraders_at_once_take_turns"),
    38: ("an upgrade of a filled database", "tests/migrations/test_migrations.py::"
         "test_an_old_database_upgrades_with_all_its_rows"),
    39: ("a damaged checkpoint", JOBS + "test_a_damaged_checkpoint_is_noticed", CHAOS),
    40: ("a checkpoint of another setting", "tests/training/test_resume.py::"
         "test_a_checkpoint_of_another_run_is_refused"),
    41: ("checkpoints exchanged", JOBS + "test_the_checkpoints_of_two_runs_exchanged_are_used_by_neither", CHAOS),
    42: ("a model file that runs code", RELEASED + "test_a_hostile_or_broken_file_is_refused"),
    43: ("a model file that fills the memory", RELEASED + "test_what_takes_memory_or_dies_is_refused"),
    44: ("a path that is no regular file", RELEASED + "test_only_regular_files_of_a_model_s_size_are_opened"),
    45: ("a teacher of another shape", "tests/models/test_released_keys.py::"
         "test_what_differs_is_shown_with_its_likely_cause"),
    46: ("a teacher below its declared accuracy", "tests/runtime/test_teacher_import.py::"
         "test_far_from_what_was_declared_is_an_error_and_leaves_nothing"),
    47: ("a dataset of another hash, or half of one", "tests/datasets/test_cifar.py::"
         "test_a_truncated_archive_is_refused_by_its_hash",
         "tests/datasets/test_cache.py::test_two_processes_at_once_decode_once"),
    48: ("a hostile archive", FOLDER + "test_hostile_members_of_a_tar_are_named"),
    49: ("damaged, huge and odd images", "tests/datasets/test_images.py::"
         "test_a_corrupt_or_odd_file_is_refused_with_its_reason"),
    50: ("wrong classes, images of train and test", "tests/datasets/test_cifar.py::"
         "test_a_hostile_pickle_is_refused_and_nothing_of_it_runs",
         FOLDER + "test_an_image_of_train_and_test_is_refused",
         FOLDER + "test_classes_with_too_few_images_are_named"),
    51: ("a dataset that changes under a study", JOBS + "test_images_that_changed_since_the_plan_are_refused"),
    52: ("YAML bombs", DOCUMENTS + "test_a_hostile_file_is_refused_within_a_second"),
    53: ("YAML's tags", DOCUMENTS + "test_what_yaml_can_do_besides_is_refused_where_it_stands"),
    54: ("unknown keys, wrong types", DOCUMENTS + "test_plain_values_mean_what_yaml_1_2_says",
         "tests/study/test_study_problems.py::test_each_problem_is_one_line_with_its_place"),
    55: ("numbers out of their range", "tests/study/test_study_mutations.py::"
         "test_mutated_studies_are_refused_in_words", CHAOS),
    56: ("a study too large", "tests/study/test_study_expansion.py::"
         "test_the_size_is_known_before_anything_is_expanded"),
    57: ("a study edited after its start", "tests/cli/test_commands.py::"
         "test_running_again_trains_nothing_and_an_edit_only_what_is_new"),
    58: ("odd names", CHAOS),
    59: ("paths in names", CHAOS),
    60: ("code named in a study", "tests/study/test_study_problems.py::test_a_study_alone_never_imports_code"),
    61: ("formulas in CSV", TEXTS + "test_a_csv_holds_any_text_and_no_formula"),
    62: ("LaTeX, HTML and Markdown in labels", TEXTS + "test_a_latex_table_is_the_same_around_any_text",
         TEXTS + "test_an_html_page_holds_any_text_and_no_markup",
         TEXTS + "test_a_markdown_table_keeps_its_shape_around_any_text"),
    63: ("SQL that writes", "tests/results/test_store_results.py::test_query_refuses_everything_but_a_select"),
    64: ("escape codes in errors", "tests/core/test_printable.py::test_escape_codes_are_written_out_and_text_stays",
         JOBS + "test_an_error_in_a_method_is_told_with_its_traceback_in_the_log"),
    65: ("settings or teachers mixed in a cell", "tests/reporting/test_tables.py::"
         "test_random_runs_are_never_pooled_across_settings"),
    66: ("the answer to a commit is lost", PUBLISHING + "test_a_commit_whose_answer_was_lost_stands",
         CLAIMS + "test_a_run_completes_once"),
    67: ("MLflow is down, slow or refuses", MIRROR + "test_an_unreachable_tracker_loses_nothing",
         MIRROR + "test_a_hanging_mirror_costs_the_wait_and_is_not_left_behind",
         MIRROR + "test_a_tracker_that_has_long_been_silent_is_not_waited_for",
         "tests/tracking/test_mlflow.py::test_a_server_that_is_not_there_costs_no_import_of_mlflow",
         "tests/tracking/test_mlflow.py::test_a_hanging_server_is_given_up_soon"),
    68: ("MLflow is emptied", "tests/cli/test_sync.py::test_sync_makes_mlflow_equal_and_again_after_a_loss"),
    70: ("Optuna's storage is lost or damaged", "tests/runtime/test_search_storage.py::"
         "test_a_storage_that_is_spoilt_is_made_anew_with_the_same_draws"),
    73: ("secrets of the environment", "tests/cli/test_sync.py::test_sync_makes_mlflow_equal_and_again_after_a_loss"),
    75: ("other users of the machine", DATABASE + "test_what_is_made_is_the_users_alone"),
}  # fmt: skip
LATER = {
    19: "host clocks that differ",
    69: "PostgreSQL",
    71: "services beyond loopback by compose",
    72: "containers",
    74: "known vulnerabilities of dependencies",
}
"""Faults of later work."""
