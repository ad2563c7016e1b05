// SPDX-License-Identifier: MIT OR Apache-2.0
//! A detached stream ends, and every event that it had submitted is read.

use retrans_lab::observe::{concerns, filter, open, ports_of, until};
use retrans_lab::wait::{PATIENCE, wait_for};
use retrans_lab::{Context, Family, Outcome, Pair, Result, Scenario};
use retrans_sdk::stream::Overflow;
use retrans_sdk::{Stream, StreamBuilder};

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_detached_stream_yields_submitted_events_and_records_no_more() -> Result<()> {
    let mut other = open()?;
    let pair = Pair::new()?;
    let mut scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let mut stream = Stream::builder().filter(filter(&ports_of(&subject))?).open().context("cannot open a stream")?;
    // An agent does this on a signal: nothing more is read, and records collect in the ring buffer.
    stream.stop_handle().stop();
    scenario.start()?;
    wait_for("a record", PATIENCE, || Ok((stream.stats().submitted > 0).then_some(())))?;
    assert_eq!(stream.iter().count(), 0, "stopped");

    stream.detach();
    let submitted = stream.stats().submitted;
    let seen_before = until(&mut other, PATIENCE, |seen| seen.iter().any(|event| concerns(&subject, event)))?.len();
    // The socket continues to retransmit, which only the other stream reports.
    until(&mut other, PATIENCE, |seen| seen.iter().any(|event| concerns(&subject, event)))?;
    scenario.finish()?;

    let read = stream.iter().collect::<Result<Vec<_>, _>>().context("cannot read the rest")?;
    let stats = stream.stats();
    assert!(stream.is_finished() && seen_before > 0);
    assert!(read.iter().all(|event| concerns(&subject, event)), "{read:?}");
    assert_eq!((read.len() as u64, stats.submitted, stats.waiting()), (submitted, submitted, 0), "{stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_stopped_queue_ends_while_attempts_continue() -> Result<()> {
    let mut other = open()?;
    let pair = Pair::new()?;
    let mut scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let subject = scenario.subject();
    let stream = Stream::builder().filter(filter(&ports_of(&subject))?).open().context("cannot open a stream")?;
    let mut queue = stream.into_queue(1024, Overflow::Block).context("cannot start a queue")?;
    scenario.start()?;
    until(&mut other, PATIENCE, |seen| seen.iter().any(|event| concerns(&subject, event)))?;
    queue.stop_handle().stop();
    let mut taken = 0;
    while !queue.is_finished() {
        taken += u64::from(queue.recv_timeout(PATIENCE).context("cannot take an event")?.is_some());
    }
    let stats = queue.stats();
    assert!(taken > 0 && taken == stats.submitted && stats.waiting() == 0, "{taken} taken; {stats}");
    scenario.finish()
}

/// Returns a detached stream with at least one record in its ring buffer, and that number.
fn detached(builder: StreamBuilder) -> Result<(Stream, u64)> {
    let pair = Pair::new()?;
    let mut scenario = Scenario::prepare(&pair, Family::V4, Outcome::Rto)?;
    let filter = filter(&ports_of(&scenario.subject()))?;
    let mut stream = builder.filter(filter).open().context("cannot open a stream")?;
    scenario.start()?;
    wait_for("a record", PATIENCE, || Ok((stream.stats().submitted > 0).then_some(())))?;
    stream.detach();
    scenario.finish()?;
    let submitted = stream.stats().submitted;
    Ok((stream, submitted))
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn try_iter_finishes_a_detached_stream() -> Result<()> {
    let (mut stream, submitted) = detached(Stream::builder())?;
    let mut read = 0;
    for _ in 0..10 {
        read += stream.try_iter().count() as u64;
    }
    assert!(stream.is_finished());
    assert_eq!(read, submitted);
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_detached_stream_whose_predicate_rejects_everything_ends() -> Result<()> {
    let (mut stream, submitted) = detached(Stream::builder().predicate(|_| false))?;
    assert_eq!(stream.iter().count(), 0);
    let stats = stream.stats();
    assert!(stream.is_finished());
    assert_eq!((stats.rejected, stats.waiting()), (submitted, 0), "{stats}");
    Ok(())
}

#[test]
#[ignore = "live: needs root, run by make test"]
fn a_detached_stream_ends_asynchronously() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.context("cannot build a runtime")?;
    let (stream, submitted) = detached(Stream::builder())?;
    stream.stop_handle().stop();
    runtime.block_on(async {
        let mut stream = stream.into_async().context("cannot register the stream")?;
        let mut read = 0;
        let all = async {
            while let Some(batch) = stream.recv_batch().await {
                read += batch.context("cannot read the rest")?.len() as u64;
            }
            Ok::<_, retrans_lab::Error>(())
        };
        tokio::time::timeout(PATIENCE, all).await.context("the stream does not end")??;
        assert_eq!(read, submitted);
        Ok(())
    })
}
