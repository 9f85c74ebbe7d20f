// SPDX-License-Identifier: GPL-2.0-only

//! The layout of JSON: a member per line, but lists of numbers on one line.

use serde_json::Value;
use std::fmt::Write;

/// Formats a value, with a line feed at the end.
///
/// A list of numbers, or of such lists, takes one line: a histogram has thousands of them.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

fn is_numeric(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(is_numeric),
        Value::Number(_) | Value::Null => true,
        _ => false,
    }
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth + 1);
    let end = "  ".repeat(depth);
    let mut between = "\n";
    match value {
        Value::Array(items) if !is_numeric(value) => {
            out.push('[');
            for item in items {
                let _ = write!(out, "{between}{indent}");
                write(out, item, depth + 1);
                between = ",\n";
            }
            let _ = write!(out, "\n{end}]");
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (name, member) in members {
                let _ = write!(out, "{between}{indent}{}: ", Value::from(name.as_str()));
                write(out, member, depth + 1);
                between = ",\n";
            }
            let _ = write!(out, "\n{end}}}");
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn layout_does_not_change_the_value() {
        let value = json!({
            "a \"name\"": "text\n",
            "none": null,
            "empty": {"list": [], "object": {}},
            "numbers": [1, 2.5, null],
            "pairs": [[1, 2], [3, 4]],
            "rows": [{"a": 1}, {"b": [true, "x"]}],
        });
        let text = pretty(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains("\n  \"pairs\": [[1,2],[3,4]]"), "{text}");
        assert!(text.contains("\n    {\n      \"a\": 1\n    },\n"), "{text}");
        assert!(text.ends_with("\n}\n"), "{text}");
    }
}
