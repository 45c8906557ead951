//! One, two and four processes share the work and say the same.

use std::process::{Child, Command};

use shop::Scenario;

use super::catch_up::{alerts, write};
use super::killed::{committed, configure};
use super::{Rig, START_MS, foreshock, wait_until};

/// Processes that are asked to end when they go out of scope.
struct Fleet(Vec<Child>);

impl Drop for Fleet {
    fn drop(&mut self) {
        for engine in &mut self.0 {
            let _ = Command::new("kill").args(["-TERM", &engine.id().to_string()]).status();
            let _ = engine.wait();
        }
    }
}

fn partitions(rig: &Rig, which: usize) -> u64 {
    let log = std::fs::read_to_string(rig.folder.path().join(format!("engine-{which}.log")));
    let last_of = |worker: &str| {
        let text = format!("worker=\"{worker}\"");
        let log = log.as_deref().unwrap_or_default();
        let last = log.lines().rfind(|line| line.contains("partitions changed") && line.contains(&text))?;
        last.rsplit("owned=").next()?.trim().parse::<u64>().ok()
    };
    ["ingest", "traces", "series", "incidents"].iter().filter_map(|worker| last_of(worker)).sum()
}

fn run(processes: usize) -> Vec<(String, String, i64, Option<i64>)> {
    let scenario = Scenario::from_seed(3, START_MS);
    let messages = scenario.shop().expect("a scenario is sound").step(scenario.end_ms);
    let rig = Rig::new(&format!("scale{processes}"));
    rig.create_sources();
    let mut fleet = Fleet(Vec::new());
    for which in 0..processes {
        configure(&rig, which);
        let log = std::fs::File::create(rig.folder.path().join(format!("engine-{which}.log")));
        let configuration = rig.folder.path().join(format!("engine-{which}.yaml"));
        let mut command = foreshock();
        command.arg("run").arg("-c").arg(configuration).stderr(log.expect("the folder is writable"));
        fleet.0.push(command.spawn().expect("the engine starts"));
    }
    // Four sources, twice three partitions between the stages, and the findings.
    let all = 4 + 3 + 3 + 1;
    wait_until("all partitions are assigned", || {
        let owned: Vec<u64> = (0..processes).map(|which| partitions(&rig, which)).collect();
        owned.iter().sum::<u64>() == all && owned.iter().all(|owned| *owned > 0)
    });
    write(&rig, &messages);
    let alerts = alerts(&rig, scenario.end_ms);
    assert!(committed(&rig.topic("dead-letter")).is_empty());
    alerts
}

#[test]
fn one_two_and_four_processes_say_the_same() {
    let one = run(1);
    assert!(!one.is_empty());
    assert_eq!(run(2), one);
    assert_eq!(run(4), one);
}
