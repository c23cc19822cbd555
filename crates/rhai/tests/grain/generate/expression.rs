//! Expressions of each kind.

use std::fmt::Write;

use super::Kind::{self, Array, Bool, Closure, Int, Map, Point, Text};
use super::Writer;

impl Writer {
    /// A variable of this kind, mostly.
    pub(super) fn variable(&mut self, kind: Kind) -> Option<String> {
        let any = self.one_in(80);
        let fitting: Vec<_> = self
            .variables
            .iter()
            .filter(|(_, of, _)| any || *of == kind)
            .cloned()
            .collect();
        if fitting.is_empty() {
            return None;
        }
        let at = self.below(fitting.len());
        Some(fitting[at].0.clone())
    }

    /// A variable of this kind that is no constant: the VM refuses a constant before it looks at the rest of an assignment.
    pub(super) fn changeable(&mut self, kind: Kind) -> Option<String> {
        let name = self.variable(kind)?;
        let constant = self.variables.iter().rev().find(|(of, ..)| *of == name)?.2;
        (!constant).then_some(name)
    }

    pub(super) fn expr(&mut self, kind: Kind, depth: usize) -> String {
        // A condition that is plainly no boolean does not compile.
        let kind = if kind != Bool && self.one_in(80) {
            self.kind()
        } else {
            kind
        };
        if self.one_in(3)
            && let Some(name) = self.variable(kind)
        {
            return name;
        }
        if depth == 0 {
            return self.atom(kind);
        }
        if kind == Int && self.one_in(5) && !self.functions.is_empty() {
            let at = self.below(self.functions.len());
            let (name, arity) = self.functions[at].clone();
            let wrong = usize::from(self.one_in(40));
            let arguments: Vec<String> = (0..arity + wrong).map(|_| self.expr(Int, depth - 1)).collect();
            let arguments = if name == "deep" {
                format!("{}", self.below(9))
            } else {
                arguments.join(", ")
            };
            return format!("{name}({arguments})");
        }
        let d = depth - 1;
        match kind {
            Int => self.int(d),
            Bool => self.bool(d),
            Text => self.text(d),
            Array => self.array(d),
            Map => self.map(d),
            Closure => self.closure(d),
            Point => match self.below(4) {
                0 => format!("point({}, {})", self.expr(Int, d), self.expr(Int, d)),
                1 => format!("{}.moved({})", self.expr(Point, d), self.expr(Int, d)),
                2 => format!(
                    "point(1, 2).with_x({}).with_y({})",
                    self.expr(Int, d),
                    self.expr(Int, d)
                ),
                _ => self.atom(Point),
            },
        }
    }

    fn atom(&mut self, kind: Kind) -> String {
        match kind {
            Int => format!("{}", self.below(10)),
            Bool => self.pick(&["true", "false"]).into(),
            Text => self
                .pick(&["``", "`a`", "\"ab\"", "`xyz`", "\"hello, world\"", "'c'"])
                .into(),
            Array => self
                .pick(&["[]", "[1]", "[3, 1, 2]", "[`a`, 2, ()]", "[[1, 2], [3]]"])
                .into(),
            Map => self
                .pick(&[
                    "#{}",
                    "#{ a: 1 }",
                    "#{ a: #{ b: 2 }, b: [1, 2] }",
                    "#{ b: [3], c: `t` }",
                ])
                .into(),
            Closure => self
                .pick(&["|x| x + 1", "|x| x * 2", "|x| x - 1", "|x| x", "|x, y| x - y"])
                .into(),
            Point => "point(1, 2)".into(),
        }
    }

    fn int(&mut self, d: usize) -> String {
        match self.below(20) {
            0..=3 => {
                let op = self.pick(&[
                    "+", "+", "-", "-", "*", "*", "+", "-", "/", "%", "**", "&", "|", "^", ">>",
                ]);
                format!("({} {op} {})", self.expr(Int, d), self.expr(Int, d))
            }
            4 => format!("-({})", self.expr(Int, d)),
            5 => format!("{}.len()", self.expr(Text, d)),
            6 => format!("{}.len", self.expr(Array, d)),
            7 => match self.below(3) {
                0 => format!("{}[{}]", self.expr(Array, d), self.expr(Int, d)),
                n => format!("[4, 5, 6][{n}]"),
            },
            8 => {
                let key = self.pick(&[".a", ".b", "[`c`]", ".a.b", "?.d?.e", ".b[0]", "?.b?[1]"]);
                match self.below(4) {
                    0 => format!("{}{key}", self.expr(Map, d)),
                    _ => format!(
                        "#{{ a: 3, b: [4, 5], c: #{{ d: 6 }} }}{}",
                        self.pick(&[".a", ".b[1]", "?.c?.d", "[`c`].d"])
                    ),
                }
            }
            9 => match self.variable(Closure) {
                Some(name) => format!("{name}.call({})", self.expr(Int, d)),
                None => self.atom(Int),
            },
            10 => format!("({}).call({})", self.expr(Closure, d), self.expr(Int, d)),
            11 => format!(
                "if {} {{ {} }} else {{ {} }}",
                self.expr(Bool, d),
                self.expr(Int, d),
                self.expr(Int, d)
            ),
            12 => format!("({} ?? {})", self.expr(Map, d), self.expr(Int, d)),
            13 => match self.below(4) {
                0 => format!(
                    "{}.reduce(|sum, v| sum + v, {})",
                    self.expr(Array, d),
                    self.expr(Int, d)
                ),
                _ => format!("[1, 2, 3].reduce(|sum, v| sum + v, {})", self.expr(Int, d)),
            },
            14 => format!(
                "{}.{}",
                self.expr(Point, d),
                self.pick(&["x", "y", "sum()", "x", "y", "sum()", "z"])
            ),
            15 => match self.variable(Int) {
                Some(name) => format!("{name}.grow({})", self.below(9)),
                None => self.atom(Int),
            },
            16 => format!("slow({})", self.expr(Int, d)),
            17 => format!("{{ sleep(0); {} }}", self.expr(Int, d)),
            18 => format!("lib::double({})", self.expr(Int, d)),
            _ => match self.below(4) {
                0 => format!("parse_int({})", self.expr(Text, d)),
                _ => format!("parse_int(`{}`)", self.below(99)),
            },
        }
    }

    fn bool(&mut self, d: usize) -> String {
        match self.below(10) {
            0..=2 => {
                let op = self.pick(&["==", "!=", "<", ">", "<=", ">="]);
                format!("({}) {op} ({})", self.expr(Int, d), self.expr(Int, d))
            }
            3 => {
                let op = self.pick(&["&&", "||"]);
                format!("({} {op} {})", self.expr(Bool, d), self.expr(Bool, d))
            }
            4 => format!("!({})", self.expr(Bool, d)),
            5 => {
                let op = self.pick(&["in", "!in"]);
                format!("{} {op} {}", self.expr(Int, d), self.expr(Array, d))
            }
            6 => format!("{}.some(|v| v > {})", self.expr(Array, d), self.expr(Int, d)),
            7 => format!("{}.contains({})", self.expr(Text, d), self.expr(Text, d)),
            8 => {
                let kind = self.kind();
                format!("type_of({}) == `i64`", self.expr(kind, d))
            }
            _ => format!("`{}` in {}", self.pick(&["a", "b"]), self.expr(Map, d)),
        }
    }

    fn text(&mut self, d: usize) -> String {
        match self.below(9) {
            0 | 1 => {
                let kind = self.kind();
                format!("({} + {})", self.expr(Text, d), self.expr(kind, d))
            }
            2 | 3 => {
                let (a, b) = (self.kind(), self.kind());
                format!("`<${{{}}}|${{{}}}>`", self.expr(a, d), self.expr(b, d))
            }
            4 => format!("{}.to_upper()", self.expr(Text, d)),
            5 => format!("{}.sub_string({}, 2)", self.expr(Text, d), self.expr(Int, d)),
            6 => {
                let kind = self.kind();
                format!("({}).to_string()", self.expr(kind, d))
            }
            7 => {
                let kind = self.kind();
                format!("type_of({})", self.expr(kind, d))
            }
            _ => format!("{}[{}]", self.expr(Text, d), self.below(3)),
        }
    }

    fn array(&mut self, d: usize) -> String {
        match self.below(12) {
            0..=2 => {
                let mut text = String::from("[");
                for i in 0..self.below(4) {
                    let kind = self.kind();
                    let kind = if self.one_in(3) { kind } else { Int };
                    let _ = write!(text, "{}{}", if i > 0 { ", " } else { "" }, self.expr(kind, d));
                }
                text + "]"
            }
            3 => format!(
                "{}.map(|v| {})",
                self.expr(Array, d),
                self.pick(&["v", "v + 1", "slow(v)", "[v]", "{ sleep(0); v }"])
            ),
            4 => format!("{}.map({})", self.expr(Array, d), self.expr(Closure, d)),
            5 => format!(
                "{}.filter(|v| {})",
                self.expr(Array, d),
                self.pick(&["v > 1", "type_of(v) == `i64`", "{ sleep(0); v != 2 }"])
            ),
            6 => match self.variable(Array) {
                Some(name) => format!(
                    "{{ {name}.sort({}); {name} }}",
                    self.pick(&["", "|a, b| a - b", "|a, b| { sleep(0); b - a }"])
                ),
                None => self.atom(Array),
            },
            7 => format!("({} + {})", self.expr(Array, d), self.expr(Array, d)),
            8 => format!("{}[{}..{}]", self.expr(Array, d), self.below(2), self.below(4)),
            9 => format!("{}.keys()", self.expr(Map, d)),
            10 => format!("{}.split(`,`)", self.expr(Text, d)),
            _ => {
                let outer = self.variables.len();
                self.variables.push(("w".into(), Int, false));
                let body = self.expr(Int, d);
                self.variables.truncate(outer);
                format!("{}.map(|w| {body})", self.expr(Array, d))
            }
        }
    }

    fn map(&mut self, d: usize) -> String {
        match self.below(5) {
            0..=2 => {
                let (a, b) = (self.kind(), self.kind());
                format!("#{{ a: {}, b: {} }}", self.expr(a, d), self.expr(b, d))
            }
            3 => format!("({} + {})", self.expr(Map, d), self.expr(Map, d)),
            _ => {
                let kind = self.kind();
                format!("#{{ f: {}, a: {} }}", self.expr(Closure, d), self.expr(kind, d))
            }
        }
    }

    fn closure(&mut self, d: usize) -> String {
        match self.below(6) {
            0 | 1 => {
                let outer = self.variables.len();
                self.variables.push(("x".into(), Int, false));
                let body = self.expr(Int, d);
                self.variables.truncate(outer);
                format!("|x| {body}")
            }
            2 => match self.variable(Int) {
                Some(name) => format!("|x| {{ {name} += x; {name} }}"),
                None => self.atom(Closure),
            },
            3 => format!("(|x, y| x + y).curry({})", self.expr(Int, d)),
            4 => format!("Fn(`{}`)", self.pick(&["f0", "f1", "deep", "abs", "slow"])),
            _ => self.atom(Closure),
        }
    }
}
