//! Numbers for people.

/// `11,689,512`
pub fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `10.2 kB`
pub fn size(bytes: i64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        ..=9_999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        ..=9_999_999_999 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
