package timeball

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

// NewRequestID is a UUID of version 7: milliseconds, then 74 random bits. The service derives the
// task's id from it, so every repetition of a request has the same task.
func NewRequestID(now time.Time) string {
	var id [16]byte
	rand.Read(id[6:])
	binary.BigEndian.PutUint16(id[0:], uint16(now.UnixMilli()>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(now.UnixMilli()))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
