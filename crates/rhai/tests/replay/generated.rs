//! Generated scripts with tasks, callbacks, races, batches and sleeps that all write into what they share.

use std::fmt::Write as _;

use crate::support::stays_consistent;

/// How many scripts are tried; each is killed after every write.
const SCRIPTS: u64 = 3;

/// A generator of scripts: the same seed gives the same one.
struct Writer {
    seed: u64,
    named: usize,
    text: String,
}

impl Writer {
    fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }

    /// The name of a request: quick, slow or refused.
    fn name(&mut self) -> String {
        self.named += 1;
        let kind = ["t", "slow", "bad", "u"][self.below(4) as usize];
        format!("{kind}-{}", self.named)
    }

    fn names(&mut self, count: u64) -> String {
        let names: Vec<String> = (0..count).map(|_| format!("`{}`", self.name())).collect();
        format!("[{}]", names.join(", "))
    }

    /// What one line of the script may do, in a task or a callback as well as in the script itself.
    fn step(&mut self, depth: u64) {
        let name = self.name();
        let say = "say.call";
        let step = match self.below(if depth < 2 { 12 } else { 9 }) {
            0 => format!("try {{ {say}(thing(`{name}`).create()); }} catch (e) {{ {say}(e.message); }}"),
            1 => format!("{say}(`${{is_complete(make_async(`{name}`))}}`);"),
            2 => format!("both.n += 1; sleep({}); {say}(`${{both.n}}`);", self.below(30)),
            3 => {
                let names = self.names(3);
                format!(
                    "try {{ {say}(`${{await_race({names}.map(|n| make_async(n)))}}`); }} catch (e) {{ {say}(e.which); }}"
                )
            }
            4 => {
                let names = self.names(3);
                format!("for s in await_settled({names}.map(|n| make_async(n)), 0.02) {{ {say}(`${{s.ok}}`); }}")
            }
            5 => {
                let names = self.names(3);
                format!(
                    "let b = batch(#{{ on_failure: \"carry_on\", concurrency: 2 }}); for n in {names} {{ b.add(thing(n)); }} \
                     b.submit_async(); {say}(`${{b.progress().done}}`); {say}(`${{b.await_batch().map(|s| s.ok)}}`);"
                )
            }
            6 => {
                let names = self.names(4);
                format!(
                    "let r = each({names}, |n| thing(n), #{{ on_failure: \"carry_on\", concurrency: 2, \
                     on_result: |item, result| {say}(`${{item}} ${{result.ok}}`) }}); {say}(`${{r.completed}}`);"
                )
            }
            7 => format!("{say}(`${{ask_host(`{name}`)}}`); {say}(`${{metrics().completed}}`);"),
            8 => format!(
                "both.n += 10; let t = now_ms(); if t % 2 == 0 {{ {say}(`even ${{both.n}}`); }} else {{ {say}(`odd`); }}"
            ),
            9 => {
                let inner = self.body(depth + 1);
                format!("tasks.push(start(|| {{ {inner} }}));")
            }
            10 => {
                let inner = self.body(depth + 1);
                format!(
                    "both.open += 1; on_complete(make_async(`{name}`), |r| {{ {say}(type_of(r)); {inner} both.open -= 1; }});"
                )
            }
            _ => {
                let inner = self.body(depth + 1);
                format!(
                    "let t = start(|| {{ {inner} both.n }}); tasks.push(t); try {{ {say}(`${{join(t, 0.01)}}`); }} catch (e) {{ {say}(e.kind); }}"
                )
            }
        };
        let _ = writeln!(self.text, "{{ {step} }}");
    }

    fn body(&mut self, depth: u64) -> String {
        let outer = std::mem::take(&mut self.text);
        for _ in 0..=self.below(3) {
            self.step(depth);
        }
        std::mem::replace(&mut self.text, outer)
    }

    fn script(seed: u64) -> String {
        let mut writer = Self {
            seed,
            named: 0,
            text: String::new(),
        };
        for _ in 0..4 {
            writer.step(0);
        }
        format!(
            "let lines = []; let both = #{{ n: 0, open: 0 }}; let tasks = [];\n\
             let say = |text| {{ print(text); lines.push(text); }};\n\
             {}\
             while !tasks.is_empty() || both.open > 0 {{ if tasks.is_empty() {{ sleep(50); }} else {{ join(tasks.pop()); }} }}\n\
             let all = lines; all",
            writer.text
        )
    }
}

#[test]
fn generated_scripts_stay_consistent() {
    for seed in 0..SCRIPTS {
        eprintln!("seed {seed}");
        stays_consistent(&Writer::script(seed));
    }
}
