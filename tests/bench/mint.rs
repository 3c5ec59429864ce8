//! Virtual mints against hyper's bare answer of the same size: kept connections, a connection each, many callers.

use crate::{
    Done, bare,
    caller::{Sample, Side},
    house::House,
    in_turn, median,
    report::{Report, Row, Target},
};

pub(crate) fn measure(report: &mut Report) -> Done {
    let house = House::open("")?;
    let socket = house.socket("bare");
    let server = bare::server(&socket, house.answer_bytes()?)?;
    let ours = house.mints("virtual");
    let theirs = Side { socket, pid: server.pid(), ..house.mints("virtual") };

    let kept = in_turn(|| ours.kept(), || theirs.kept())?;
    alone(report, "kept connection", &kept, Target::Times(1.35));
    let connecting = in_turn(|| ours.connecting(), || theirs.connecting())?;
    alone(report, "a connection each", &connecting, Target::Times(1.7));
    for callers in [8, 64] {
        let crowd = in_turn(|| ours.crowd(callers), || theirs.crowd(callers))?;
        let rates = both(&crowd, |sample| sample.rate);
        report.add(Row::against(format!("mint, {callers} callers: rate"), "/s", rates, Target::AtLeastTimes(0.6)));
        let cpu = both(&crowd, |sample| sample.cpu / 1000.0);
        report.add(Row::against(format!("mint, {callers} callers: CPU each"), "µs", cpu, Target::AtMost(6.5)));
    }
    Ok(())
}

type Sides = (Vec<Sample>, Vec<Sample>);

fn alone(report: &mut Report, how: &str, sides: &Sides, target: Target) {
    report.add(Row::against(format!("mint, {how}: p50"), "µs", both(sides, |sample| sample.p50 / 1000.0), target));
    report.add(Row::against(
        format!("mint, {how}: p99"),
        "µs",
        both(sides, |sample| sample.p99 / 1000.0),
        Target::None,
    ));
    report.add(Row::against(format!("mint, {how}: rate"), "/s", both(sides, |sample| sample.rate), Target::None));
    let cpu = both(sides, |sample| sample.cpu / 1000.0);
    report.add(Row::against(format!("mint, {how}: CPU each"), "µs", cpu, Target::None));
}

fn both(sides: &Sides, of: impl Fn(&Sample) -> f64) -> (f64, f64) {
    (median(&sides.0, &of), median(&sides.1, &of))
}
