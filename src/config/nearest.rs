//! What somebody may have meant. It only ever suggests; nothing is read as what it resembles.

/// The known word that a mistyped one most resembles, if any does: a third of its letters may be wrong, at least one.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let reach = (word.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|name| (distance(word, name), name));
    scored.filter(|(steps, _)| *steps <= reach).min_by_key(|(steps, _)| *steps).map(|(_, name)| name)
}

/// Letters to add, drop, change, or swap with their neighbour (optimal string alignment), capitals aside.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.to_lowercase().chars().take(64).collect();
    let other: Vec<char> = other.to_lowercase().chars().take(64).collect();
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let change = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let known = ["workers", "drain", "runtime_dir", "uid"];
        assert_eq!(nearest("wokrers", known), Some("workers"));
        assert_eq!(nearest("runtimedir", known), Some("runtime_dir"));
        assert_eq!(nearest("UID", known), Some("uid"));
        assert_eq!(nearest("colour", known), None);
    }
}
