package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rowmill/rowmill/internal/journal"
)

// usageEvery is how often the journal notes what the stages have used: so much of it a kill
// may take at most, beside what was on the wire.
const usageEvery = 50 * time.Millisecond

// noteUsage notes what the stages have used, if something has changed since.
func (k *keeper) noteUsage() error {
	at := k.changes.Load()
	if at == k.usageNoted {
		return nil
	}
	k.usageNoted = at
	used := k.run.usage()
	if len(used) == 0 {
		return nil
	}
	payload, err := json.Marshal(used)
	if err != nil {
		return err
	}
	return k.journal.Append(journal.Entry{Payload: payload})
}

// readUsage takes over what the journal knows of what the earlier run has used since its last
// checkpoint. It only ever grows.
func (k *keeper) readUsage() error {
	payload, ok, err := k.journal.Lookup(journal.Key{}, 0)
	if err != nil || !ok {
		return err
	}
	var noted map[string]map[string]int64
	if err := json.Unmarshal(payload, &noted); err != nil {
		return fmt.Errorf("what was used: %w", err)
	}
	for stage, used := range k.previous.Usage {
		for name, n := range used {
			if noted[stage] == nil {
				noted[stage] = map[string]int64{}
			}
			noted[stage][name] = max(noted[stage][name], n)
		}
	}
	k.previous.Usage = noted
	return nil
}
