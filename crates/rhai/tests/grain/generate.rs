//! Small Rhai programs from a seed: they mix what scripts do, go wrong now and then, and always end.

mod expression;

/// What a variable or an expression is meant to be; one in eighty is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
    Array,
    Map,
    Closure,
    Point,
    Bool,
}

use Kind::{Array, Bool, Closure, Int, Map, Point, Text};

const KINDS: [Kind; 7] = [Int, Text, Array, Map, Closure, Point, Bool];

/// The program of this seed.
pub(crate) fn program(seed: u64) -> String {
    let mut writer = Writer {
        state: seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(0x1234_5678_9abc_def1),
        out: String::new(),
        variables: Vec::new(),
        names: 0,
        indent: 0,
        functions: Vec::new(),
        in_loop: false,
        budget: 60,
    };
    writer.script();
    writer.out
}

struct Writer {
    state: u64,
    out: String,
    /// In scope: name, kind, constant.
    variables: Vec<(String, Kind, bool)>,
    names: usize,
    indent: usize,
    /// Name, parameters.
    functions: Vec<(String, usize)>,
    in_loop: bool,
    budget: usize,
}

impl Writer {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn kind(&mut self) -> Kind {
        KINDS[self.below(KINDS.len())]
    }

    fn name(&mut self) -> String {
        // Now and then a name that is taken: shadowing.
        if self.one_in(8) && !self.variables.is_empty() {
            let at = self.below(self.variables.len());
            return self.variables[at].0.clone();
        }
        self.names += 1;
        format!("v{}", self.names)
    }

    fn line(&mut self, text: &str) {
        for _ in 0..self.indent {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn script(&mut self) {
        for i in 0..self.below(4) {
            let arity = self.below(3);
            self.function(&format!("f{i}"), arity);
        }
        if self.one_in(2) {
            self.line("fn grow(by) { this += by; this }");
        }
        if self.one_in(2) {
            self.line("fn deep(n) { if n <= 0 { return 0; } n + deep(n - 1) }");
            self.functions.push(("deep".into(), 1));
        }
        if self.one_in(3) {
            let value = self.expr(Int, 1);
            self.line(&format!("const LIMIT = {value};"));
            self.line("fn limited(x) { x + global::LIMIT }");
            self.functions.push(("limited".into(), 1));
            self.variables.push(("LIMIT".into(), Int, true));
        }
        for _ in 0..4 + self.below(8) {
            self.statement(3);
        }
        let value = if self.one_in(3) {
            format!(
                "[{}]",
                self.variables
                    .iter()
                    .map(|v| v.0.clone())
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        } else {
            let kind = self.kind();
            self.expr(kind, 3)
        };
        self.line(&value);
    }

    fn function(&mut self, name: &str, arity: usize) {
        let outer = std::mem::take(&mut self.variables);
        let in_loop = std::mem::replace(&mut self.in_loop, false);
        let parameters: Vec<String> = (0..arity).map(|i| format!("p{i}")).collect();
        self.line(&format!("fn {name}({}) {{", parameters.join(", ")));
        for parameter in &parameters {
            let kind = self.kind();
            let kind = if self.one_in(20) { kind } else { Int };
            self.variables.push((parameter.clone(), kind, false));
        }
        self.indent += 1;
        for _ in 0..1 + self.below(3) {
            self.statement(2);
        }
        let value = self.expr(Int, 2);
        match self.below(3) {
            0 => self.line(&format!("return {value};")),
            _ => self.line(&value),
        }
        self.indent -= 1;
        self.line("}");
        self.variables = outer;
        self.in_loop = in_loop;
        self.functions.push((name.into(), arity));
    }

    fn block(&mut self, depth: usize) {
        let known = self.variables.len();
        self.indent += 1;
        for _ in 0..1 + self.below(3) {
            self.statement(depth);
        }
        self.indent -= 1;
        self.variables.truncate(known);
    }

    fn statement(&mut self, depth: usize) {
        if self.budget == 0 {
            return self.line("sleep(0);");
        }
        self.budget -= 1;
        match self.below(if depth == 0 { 12 } else { 24 }) {
            0..=2 => self.declare(),
            3 => {
                let kind = self.kind();
                let value = self.expr(kind, 2);
                self.line(&format!("print({value});"));
            }
            4 => {
                let value = self.expr(Text, 2);
                self.line(&format!("print(`${{{value}}}`);"));
            }
            5 => self.assign(),
            6 => self.assign_part(),
            7 => {
                let kind = self.kind();
                let value = self.expr(kind, 2);
                self.line(&format!("{value};"));
            }
            8 => self.line("sleep(0);"),
            9 => {
                let array = self.expr(Array, 1);
                let kind = self.kind();
                let value = self.expr(kind, 1);
                let call = self.pick(&["push", "push", "insert(0, ", "pad(3, "]);
                let target = self.variable(Array).unwrap_or(array);
                let open = if call.ends_with(' ') { "" } else { "(" };
                self.line(&format!("{target}.{call}{open}{value});"));
            }
            10 if self.in_loop => {
                let condition = self.expr(Bool, 1);
                let leave = self.pick(&["break", "continue"]);
                self.line(&format!("if {condition} {{ {leave}; }}"));
            }
            10 => {
                let value = self.expr(Int, 1);
                self.line(&format!("if {value} == 3 {{ return {value}; }}"));
            }
            11 => {
                let value = self.expr(Int, 1);
                let what = self.pick(&["throw", "throw", "exit"]);
                if what == "throw" {
                    self.line(&format!("if {value} == 4 {{ throw {value}; }}"));
                } else {
                    self.line(&format!("if {value} == 5 {{ exit({value}); }}"));
                }
            }
            12 | 13 => self.condition(depth - 1),
            14..=17 => self.repeat(depth - 1),
            18 | 19 => self.attempt(depth - 1),
            20 | 21 => self.switch(depth - 1),
            22 => {
                self.line("{");
                self.block(depth - 1);
                self.line("}");
            }
            _ => self.declare_closure(depth - 1),
        }
    }

    fn declare(&mut self) {
        let kind = self.kind();
        let value = self.expr(kind, 3);
        let name = self.name();
        let constant = self.one_in(8);
        self.line(&format!("{} {name} = {value};", if constant { "const" } else { "let" }));
        self.variables.push((name, kind, constant));
    }

    fn declare_closure(&mut self, depth: usize) {
        let name = self.name();
        let outer = self.variables.len();
        let in_loop = std::mem::replace(&mut self.in_loop, false);
        self.line(&format!("let {name} = |a| {{"));
        self.variables.push(("a".into(), Int, false));
        self.block(depth);
        let value = self.expr(Int, 2);
        self.line(&format!("    {value}"));
        self.line("};");
        self.variables.truncate(outer);
        self.in_loop = in_loop;
        self.variables.push((name, Closure, false));
    }

    fn assign(&mut self) {
        let kind = self.kind();
        let Some(name) = self.variable(kind) else {
            return self.declare();
        };
        let value = self.expr(kind, 2);
        let op = self.pick(match kind {
            Int => &["=", "+=", "-=", "*=", "/=", "%=", "<<=", "&=", "|=", "^=", "**="],
            Text | Array | Map => &["=", "+="],
            _ => &["="],
        });
        self.line(&format!("{name} {op} {value};"));
    }

    fn assign_part(&mut self) {
        let value = self.expr(Int, 2);
        let op = self.pick(&["=", "=", "+=", "-="]);
        let place = match self.below(6) {
            0 | 1 => match self.changeable(Array) {
                Some(name) => {
                    let at = self.expr(Int, 1);
                    format!("{name}[{at}]")
                }
                None => return self.declare(),
            },
            2 => match self.changeable(Point) {
                Some(name) => format!("{name}.{}", self.pick(&["x", "y", "z"])),
                None => return self.declare(),
            },
            _ => match self.changeable(Map) {
                Some(name) => {
                    let key = self.pick(&[".a", ".b", ".c", ".a.b", "?.d"]);
                    format!("{name}{key}")
                }
                None => return self.declare(),
            },
        };
        self.line(&format!("{place} {op} {value};"));
    }

    fn condition(&mut self, depth: usize) {
        let condition = self.expr(Bool, 2);
        let bound = self.one_in(3);
        let name = self.name();
        let start = if bound { format!("let {name} = ") } else { String::new() };
        self.line(&format!("{start}if {condition} {{"));
        self.block(depth);
        if self.one_in(2) {
            let condition = self.expr(Bool, 1);
            self.line(&format!("}} else if {condition} {{"));
            self.block(depth);
        }
        if self.one_in(2) {
            self.line("} else {");
            self.block(depth);
            if self.one_in(2) {
                let value = self.expr(Int, 1);
                self.line(&format!("    {value}"));
            }
        }
        self.line(if bound { "};" } else { "}" });
        if bound {
            self.variables.push((name, Int, false));
        }
    }

    fn repeat(&mut self, depth: usize) {
        let in_loop = std::mem::replace(&mut self.in_loop, true);
        let known = self.variables.len();
        match self.below(6) {
            0 | 1 => {
                let name = self.name();
                let (over, kind) = match self.below(6) {
                    0 => (format!("0..{}", self.below(5)), Int),
                    1 => (format!("0..={}", self.below(4)), Int),
                    2 => (self.expr(Array, 1), Int),
                    3 => (format!("{}.chars()", self.expr(Text, 1)), Text),
                    4 => (format!("{}.keys()", self.expr(Map, 1)), Text),
                    _ => (format!("range({}, 9, 3)", self.below(9)), Int),
                };
                if self.one_in(3) {
                    let counter = self.name();
                    self.line(&format!("for ({name}, {counter}) in {over} {{"));
                    self.variables.push((counter, Int, false));
                } else {
                    self.line(&format!("for {name} in {over} {{"));
                }
                self.variables.push((name, kind, false));
                self.block(depth);
                self.line("}");
            }
            2 => {
                self.names += 1;
                let counter = format!("n{}", self.names);
                let end = 1 + self.below(4);
                self.line(&format!("let {counter} = 0;"));
                self.line(&format!("while {counter} < {end} {{ {counter} += 1;"));
                self.block(depth);
                self.line("}");
            }
            3 => {
                self.names += 1;
                let counter = format!("n{}", self.names);
                let end = 1 + self.below(4);
                let value = self.expr(Int, 1);
                let name = self.name();
                self.line(&format!("let {counter} = 0;"));
                self.line(&format!(
                    "let {name} = loop {{ {counter} += 1; if {counter} > {end} {{ break {value}; }}"
                ));
                self.block(depth);
                self.line("};");
                self.variables.push((name, Int, false));
                self.in_loop = in_loop;
                return;
            }
            _ => {
                self.names += 1;
                let counter = format!("n{}", self.names);
                let end = 1 + self.below(3);
                let (word, compare) = if self.one_in(2) {
                    ("while", "<")
                } else {
                    ("until", ">=")
                };
                self.line(&format!("let {counter} = 0;"));
                self.line(&format!("do {{ {counter} += 1;"));
                self.block(depth);
                self.line(&format!("}} {word} {counter} {compare} {end};"));
            }
        }
        self.variables.truncate(known);
        self.in_loop = in_loop;
    }

    fn attempt(&mut self, depth: usize) {
        self.line("try {");
        self.block(depth);
        if self.one_in(2) {
            let kind = self.kind();
            let value = self.expr(kind, 1);
            self.line(&format!("    throw {value};"));
        }
        if self.one_in(4) {
            self.line("} catch {");
            self.block(depth);
            self.line("}");
            return;
        }
        let name = self.name();
        self.line(&format!("}} catch ({name}) {{"));
        self.line(&format!("    print({name});"));
        self.variables.push((name.clone(), Map, false));
        self.block(depth);
        self.variables.pop();
        if self.one_in(6) {
            let again = self.pick(&["    throw;", "    throw 7;"]);
            self.line(again);
        }
        self.line("}");
    }

    fn switch(&mut self, depth: usize) {
        let subject_kind = if self.one_in(3) { Text } else { Int };
        let subject = self.expr(subject_kind, 2);
        let name = self.name();
        let bound = self.one_in(2);
        let start = if bound { format!("let {name} = ") } else { String::new() };
        self.line(&format!("{start}switch {subject} {{"));
        for _ in 0..1 + self.below(4) {
            let case = match self.below(5) {
                0 | 1 => format!("{} | {}", self.below(6), self.below(6)),
                2 => format!("`{}`", self.pick(&["a", "ab", "x"])),
                _ => format!("{}", self.below(8)),
            };
            let guard = if self.one_in(3) {
                let guard = self.expr(Bool, 1);
                format!(" if {guard}")
            } else {
                String::new()
            };
            if self.one_in(2) {
                let value = self.expr(Int, 1);
                self.line(&format!("    {case}{guard} => {value},"));
            } else {
                self.line(&format!("    {case}{guard} => {{"));
                self.indent += 1;
                self.block(depth);
                self.indent -= 1;
                self.line("    }");
            }
        }
        if subject_kind == Int && self.one_in(3) {
            let value = self.expr(Int, 1);
            let (start, end) = (self.below(4), 2 + self.below(9));
            self.line(&format!("    {start}..{end} => {value},"));
        }
        if self.one_in(2) {
            let value = self.expr(Int, 1);
            self.line(&format!("    _ => {value}"));
        }
        self.line(if bound { "};" } else { "}" });
        if bound {
            self.variables.push((name, Int, false));
        }
    }
}
