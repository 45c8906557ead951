//! Questions about offsets. An answer may hold errors of single partitions, which must not pass for "there is none".

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use worker::TopicPartition;

/// What the group has committed for these partitions.
pub(crate) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: TopicPartitionList,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    whole(consumer.committed_offsets(partitions, timeout)?)
}

/// The first offsets at the times that stand in the place of offsets, or later.
pub(crate) fn at_times<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    times: TopicPartitionList,
    timeout: Duration,
) -> KafkaResult<TopicPartitionList> {
    whole(consumer.offsets_for_times(times, timeout)?)
}

pub(crate) fn listed(keys: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, number) in keys {
        list.add_partition(topic, *number);
    }
    list
}

fn whole(answer: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    answer.elements().iter().try_for_each(|element| element.error())?;
    Ok(answer)
}

/// What was committed with an offset; nothing if that is no text, at which rdkafka panics and which another program may have written.
pub(crate) fn metadata_of(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_default()
}
