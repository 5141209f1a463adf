//! Every fault as people see it: one snapshot each.

use super::testing::{HEAD, Memory, complete};
use super::{Override, read};

/// What is said of one file `e.toml` with this text.
fn said(text: &str) -> String {
    said_of(&Memory::default().with("e.toml", text), &["e.toml"], &[])
}

/// A simulated engine with this line, and requests of so many prompt tokens and 200 others.
fn simulated(line: &str, input_tokens: u32) -> String {
    format!(
        "schema = 1\nname = \"e\"\ndescription = \"What?\"\n[engine]\nkind = \"sim\"\n{line}\n[workload]\ninput_tokens = {input_tokens}\n\
         output_tokens = 200\n[sla]\nttft = \"1s\"\n[execution]\ngpus = \"none\"\n"
    )
}

fn said_of(files: &Memory, paths: &[&str], overrides: &[&str]) -> String {
    let paths: Vec<_> = paths.iter().map(Into::into).collect();
    let overrides: Vec<_> = overrides.iter().copied().map(Override::new).collect();
    match read(&paths, &overrides, files) {
        Ok(experiments) => panic!("nothing is wrong with {paths:?}: {} experiments", experiments.len()),
        Err(faults) => faults.to_string(),
    }
}

/// One snapshot for each case, named by it.
macro_rules! snapshots {
    ($($name:ident: $said:expr,)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), $said);
        })*
    };
}

snapshots! {
    a_key_that_is_misspelt: said(&complete("sla.ttfl = \"2s\"")),
    a_key_of_slurm_that_is_misspelt: said(&complete("[execution.slurm]\npartitoin = \"gpu\"")),
    a_line_for_slurm_that_is_two: said(&complete("execution.slurm.account = \"a\\n#SBATCH --uid=0\"")),
    a_line_for_lines: said(&complete("execution.slurm.setup = \"module load cuda\"")),
    a_number_for_the_table_of_slurm: said(&complete("execution.slurm = 1")),
    a_key_that_nothing_resembles: said(&complete("[search]\nwhatever = 1")),
    a_table_that_is_misspelt: said(&complete("[serach]\nbudget = \"5m\"")),
    a_table_that_is_misspelt_and_must_be_there: said(&simulated("", 500).replace("[workload]", "[workloads]")),
    an_engine_that_is_misspelt: said(&simulated("", 500).replace("[engine]", "[engin]")),
    a_text_for_a_number: said(&complete("workload.output_tokens = \"many\"")),
    a_number_for_a_text: said(&complete("model.tokenizer = 5")),
    a_number_for_a_table: said(&format!("{HEAD}workload = 5\nsla.ttft = \"1s\"")),
    a_table_for_a_number: said(&complete("[workload.output_tokens]\na = 1")),
    a_broken_fraction_for_a_whole_number: said(&complete("workload.output_tokens = 1.5")),
    a_length_of_time_without_a_unit: said(&complete("search.budget = 30")),
    a_negative_length_of_time_without_a_unit: said(&complete("search.budget = -1")),
    a_length_of_time_in_quotes_without_a_unit: said(&complete("search.budget = \"30\"")),
    a_unit_that_is_none: said(&complete("search.budget = \"30 minutes\"")),
    a_negative_length_of_time: said(&complete("workload.hold = \"-5s\"")),
    no_time_at_all: said(&complete("sla.tpot = \"0s\"")),
    a_negative_number: said(&complete("workload.output_tokens = -1")),
    zero_tokens: said(&complete("workload.output_tokens = 0")),
    a_number_beyond_32_bits: said(&complete("workload.output_tokens = 5000000000")),
    a_number_beyond_64_bits: said(&complete("workload.seed = 99999999999999999999")),
    an_ok_rate_above_one: said(&complete("sla.ok_rate = 1.5")),
    an_ok_rate_of_zero: said(&complete("sla.ok_rate = 0")),
    a_percentage_above_a_hundred: said(&complete("sla.ok_rate = \"150%\"")),
    not_a_number: said(&complete("sla.ok_rate = nan")),
    an_engine_argument_that_is_no_number: said(&complete("engine.gpu_memory_utilization = inf")),
    a_date_for_an_engine_argument: said(&complete("engine.when = 2026-01-01")),
    a_relative_resolution_without_percent: said(&complete("search.resolution = 0.02")),
    a_certain_confidence: said(&complete("search.confidence = 1")),
    a_drift_of_the_simulator_above_a_hundred_percent: said(&simulated("probe_drift = 1e9", 500)),
    a_noise_of_the_simulator_above_a_hundred_percent: said(&simulated("step_noise = \"150%\"", 500)),
    a_word_that_is_misspelt: said(&complete("engine.layer = \"engine_core\"")),
    a_word_that_nothing_resembles: said(&complete("search.strategy = \"telepathy\"")),
    a_prompt_of_no_kind: said(&complete("workload.prompt = \"poems\"")),
    a_prompt_of_two_kinds: said(&complete("workload.prompt = { corpus = \"a\", characters = \"b\" }")),
    a_prompt_of_a_misspelt_kind: said(&complete("workload.prompt = { corpse = \"a\" }")),
    a_gpu_named_twice: said(&complete("execution.gpus = [0, 1, 0]")),
    no_gpus_in_a_list: said(&complete("execution.gpus = []")),
    an_environment_variable_that_is_a_list: said(&complete("engine.env = { A = [1] }")),
    a_model_among_the_engine_arguments: said(&complete("engine.model = \"org/other\"")),
    an_engine_argument_as_the_command_line_has_it: said(&complete("engine.max-model-len = 8192")),
    an_argument_of_vllm_for_the_simulator: said(&complete("[engine]\nkind = \"sim\"\nmax_num_seq = 4\ndtype = \"float32\"")),
    no_limit_on_the_first_token: said(&format!("{HEAD}workload.input_tokens = 5")),
    no_model: said("schema = 1\nname = \"e\"\nworkload.input_tokens = 5\nsla.ttft = \"1s\""),
    no_name: said("schema = 1\nmodel.id = \"org/model\"\nworkload.input_tokens = 5\nsla.ttft = \"1s\""),
    no_schema: said("name = \"e\"\nmodel.id = \"org/model\"\nworkload.input_tokens = 5\nsla.ttft = \"1s\""),
    a_newer_schema: said(&complete("").replace("schema = 1", "schema = 2")),
    a_name_that_leaves_the_directory: said(&complete("").replace("\"e\"", "\"../e\"")),
    a_name_that_is_a_path: said(&complete("").replace("\"e\"", "\"/tmp/e\"")),
    a_name_of_two_dots: said(&complete("").replace("\"e\"", "\"..\"")),
    a_name_with_control_characters: said(&complete("").replace("\"e\"", "\"e\\u001b[2J\\n\"")),
    a_secret_variable_as_an_axis: said(&complete("[matrix]\n\"engine.env.HF_TOKEN\" = [\"a\", \"b\"]")),
    a_secret_among_axes_of_tables: said(&complete("[matrix]\nengine = [{ env = { MY_PASSWORD = \"a\" } }, { dtype = \"float32\" }]")),
    a_secret_argument_in_an_inclusion: said(&complete("[[matrix.include]]\n\"engine.hf_token\" = \"a\"")),
    an_empty_name: said(&complete("").replace("\"e\"", "\"\"")),
    not_toml: said(&complete("[sla\nttft = = 3\n[engine]\ndtype = \"a\" \"b\"")),
    the_same_key_twice: said(&complete("sla.ttft = \"2s\"")),
    an_empty_file: said(""),
    an_empty_list: said(&complete("sla.ok_rate = []")),
    an_empty_list_of_what_must_be_there: said(&format!("{HEAD}workload.input_tokens = 100\nsla.ttft = []")),
    an_empty_axis: said(&complete("[matrix]\n\"engine.dtype\" = []")),
    an_axis_that_is_no_list: said(&complete("[matrix]\n\"engine.dtype\" = \"float32\"")),
    a_value_twice_on_an_axis: said(&complete("[matrix]\n\"engine.dtype\" = [\"float32\", \"auto\", \"float32\"]")),
    a_value_twice_in_meaning: said(&complete("sla.e2e = [\"60s\", \"1m\"]")),
    a_value_twice_in_a_list: said(&complete("sla.ok_rate = [0.9, 0.90]")),
    an_axis_that_names_nothing: said(&complete("[matrix]\n\"workload.inptu_tokens\" = [1, 2]")),
    an_axis_of_no_table: said(&complete("[matrix]\n\"enigne.dtype\" = [\"a\", \"b\"]")),
    an_axis_without_its_table: said(&complete("[matrix]\nmax_num_seqs = [1, 2]\nttft = [\"1s\", \"2s\"]")),
    an_axis_of_execution: said(&complete("[matrix]\n\"execution.retries\" = [1, 2]")),
    an_axis_with_a_hole_in_its_name: said(&complete("[matrix]\n\"engine..dtype\" = [1, 2]")),
    two_axes_for_one_field: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\", \"b\"]\n\"engine\" = [{ dtype = \"c\" }, { x = 1 }]")),
    an_axis_and_a_list: said(&complete("workload.output_tokens = [1, 2]\n[matrix]\n\"workload.output_tokens\" = [1, 2]")),
    an_axis_value_of_the_wrong_type: said(&complete("[matrix]\n\"workload.output_tokens\" = [1, \"two\", 3]")),
    an_exclusion_by_no_axis: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\", \"b\"]\n[[matrix.exclude]]\n\"engine.dtpye\" = \"a\"")),
    an_exclusion_of_no_value: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\", \"b\"]\n[[matrix.exclude]]\n\"engine.dtype\" = \"c\"")),
    an_exclusion_that_matches_nothing: said(&complete(
        "[matrix]\n\"engine\" = [{ a = 1 }, { b = 1 }]\n[[matrix.exclude]]\n\"engine.a\" = 1\n\"engine.b\" = 1"
    )),
    an_exclusion_that_says_nothing: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\", \"b\"]\n[[matrix.exclude]]")),
    exclusions_that_are_no_list: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\", \"b\"]\nexclude = 5")),
    everything_excluded: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\"]\n[[matrix.exclude]]\n\"engine.dtype\" = \"a\"")),
    an_inclusion_of_no_field: said(&complete("[matrix]\n\"engine.dtype\" = [\"a\"]\n[[matrix.include]]\n\"workload.tokens\" = 5")),
    an_inclusion_of_what_is_there: said(&complete(
        "[matrix]\n\"engine\" = [{ a = 1 }, { b = 1 }]\n[[matrix.include]]\n\"engine.b\" = 1\n\"engine.a\" = 1\n[[matrix.include]]\n\"engine.a\" = 1\n\"engine.b\" = 1"
    )),
    too_many_cells: said(&complete(&format!("[matrix]\n{}", (0..23).map(|i| format!("\"engine.a{i}\" = [1, 2]\n")).collect::<String>()))),
    a_request_longer_than_the_context: said(&complete("engine.max_model_len = 600\nworkload.output_tokens = 200")),
    one_cell_longer_than_its_context: said(&complete(
        "[matrix]\n\"engine.max_model_len\" = [600, 2048]\n\"workload.output_tokens\" = [64, 200]"
    )),
    a_request_larger_than_the_cache: said(&simulated("kv_cache_tokens = 600", 500)),
    a_request_larger_than_the_default_cache: said(&simulated("", 500_000)),
    a_start_above_the_cap: said(&complete("[search]\nmax_concurrency = 8\nstart_concurrency = 9")),
    a_start_above_the_default_cap: said(&complete("search.start_concurrency = 5000")),
    a_prefix_as_long_as_the_prompt: said(&complete("workload.shared_prefix = 500")),
    a_prefix_for_the_simulator: said(&simulated("", 500).replace("[sla]", "shared_prefix = 64\n[sla]")),
    one_cell_with_a_prefix_for_the_simulator: said(&complete(
        "[matrix]\n\"workload.shared_prefix\" = [0, 64]\nengine = [{ kind = \"vllm\" }, { kind = \"sim\" }]"
    )),
    a_model_directory_that_is_not_there: said(&complete("").replace("org/model", "./tiny")),
    a_model_too_deep_for_the_hub: said(&complete("").replace("org/model", "models/tiny/llama")),
    a_model_directory_that_is_misspelt: said_of(
        &Memory::default().with("x/e.toml", &complete("").replace("org/model", "tiny-lama")).with("x/tiny-llama/config.json", "{}"),
        &["x/e.toml"],
        &[],
    ),
    a_corpus_that_is_not_there: said(&complete("workload.prompt = { corpus = \"texts/*.txt\" }")),
    a_corpus_that_is_no_pattern: said(&complete("workload.prompt = { corpus = \"texts/[\" }")),
    a_file_that_is_not_there: said_of(&Memory::default(), &["e.toml", "none/*.toml"], &[]),
    a_base_that_is_not_there: said(&complete("").replace("name =", "extends = \"base.toml\"\nname =")),
    a_circle_of_bases: said_of(
        &Memory::default()
            .with("x/a.toml", "schema = 1\nextends = \"b.toml\"")
            .with("x/b.toml", "schema = 1\nextends = \"y/../c.toml\"")
            .with("x/c.toml", "schema = 1\nextends = \"a.toml\""),
        &["x/a.toml"],
        &[],
    ),
    a_fault_in_a_base: said_of(
        &Memory::default()
            .with("base.toml", "schema = 1\nmodel.id = \"org/model\"\n[sla]\nttft = 5")
            .with("e.toml", "schema = 1\nname = \"e\"\nextends = \"base.toml\"\nworkload.input_tokens = 5"),
        &["e.toml"],
        &[],
    ),
    two_files_with_one_name: said_of(
        &Memory::default().with("a.toml", &complete("")).with("b.toml", &complete("")),
        &["a.toml", "b.toml"],
        &[],
    ),
    an_override_that_sets_nothing: said_of(&Memory::default().with("e.toml", &complete("")), &["e.toml"], &["engine.dtype", "=", ""]),
    an_override_of_the_wrong_type: said_of(&Memory::default().with("e.toml", &complete("")), &["e.toml"], &["sla.ttft=fast"]),
    an_override_of_a_table_by_a_number: said_of(&Memory::default().with("e.toml", &simulated("", 500)), &["e.toml"], &["engine=3"]),
    an_override_of_no_field: said_of(&Memory::default().with("e.toml", &complete("")), &["e.toml"], &["sla.tftt=1s"]),
    an_override_of_the_name: said_of(&Memory::default().with("e.toml", &complete("")), &["e.toml"], &["name=other"]),
    an_override_of_two_fields: said_of(&Memory::default().with("e.toml", &complete("")), &["e.toml"], &["a=1\nb=2"]),
    many_faults_of_many_files: said_of(
        &Memory::default()
            .with("a.toml", &complete("sla.ttfl = 1\n[search]\nbudget = 5\nstrategy = \"guidde\"\n[matrix]\n\"engine.x\" = []"))
            .with("b.toml", &complete("engine.kind = \"simulator\"")),
        &["a.toml", "b.toml"],
        &[],
    ),
}

#[test]
fn colours_are_for_terminals() {
    let files = Memory::default().with("e.toml", &complete("sla.ttfl = 1"));
    let faults = read(&["e.toml".into()], &[], &files).unwrap_err();
    assert!(faults.render(true).contains('\u{1b}'));
    assert!(!faults.render(false).contains('\u{1b}'));
}

#[test]
fn a_fault_knows_its_line_and_column() {
    let files = Memory::default().with("e.toml", &complete("sla.ttfl = 1"));
    let faults = read(&["e.toml".into()], &[], &files).unwrap_err();
    let places: Vec<_> = faults.iter().map(|fault| faults.place(fault)).collect();
    assert_eq!(places, [Some(("e.toml", 6, 5))]);
}
