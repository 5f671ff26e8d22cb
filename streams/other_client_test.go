package streams

import "github.com/twmb/franz-go/pkg/kmsg"

// newDeleteRecords asks to delete a topic's records below an offset of its
// partition 0.
func newDeleteRecords(topic string, offset int64) *kmsg.DeleteRecordsRequest {
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = offset
	tp := kmsg.NewDeleteRecordsRequestTopic()
	tp.Topic, tp.Partitions = topic, append(tp.Partitions, p)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = append(req.Topics, tp)
	return req
}
