package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func said(role, text string) message {
	content, _ := json.Marshal(text)
	return message{role, content}
}

func TestAConversationIsInOrder(t *testing.T) {
	ask := func(n int) message { return said("user", fmt.Sprintf("[Sun 10:00] What is %d + 900000?", n)) }
	answer := func(n int) message {
		return message{"assistant", json.RawMessage(fmt.Sprintf(`[{"type":"text","text":"%d + 900000 = %d\n\n(demo)"}]`, n, n+offset))}
	}
	whole := []message{said("user", "hello"), ask(1), answer(1), said("toolResult", "7"), ask(2), answer(2)}
	if err := inOrder(whole, 2); err != nil {
		t.Errorf("a whole conversation: %v", err)
	}
	for name, tt := range map[string]struct {
		messages []message
		want     string
	}{
		"the last answer is lost": {whole[:5], "ends before answer 900002"},
		"a question is lost":      {slices.Delete(slices.Clone(whole), 1, 2), "has answer 900001 where question 1"},
		"one is answered twice":   {append(slices.Clone(whole), answer(2)), "goes on with answer 900002"},
		"one was asked twice":     {slices.Insert(slices.Clone(whole), 4, ask(1)), "has question 1 where question 2"},
		"nothing is left":         {nil, "ends before question 1"},
	} {
		if err := inOrder(tt.messages, 2); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATwinMakesANumberAgain(t *testing.T) {
	if twice := repeated([]string{"1-100", "2-200", "10-900", "3-300"}); len(twice) > 0 {
		t.Errorf("a single life has twins: %v", twice)
	}
	if twice := repeated([]string{"1-100", "2-200", "3-300", "2-950"}); !slices.Equal(twice, []string{"2-200", "2-950"}) {
		t.Errorf("found %v", twice)
	}
}

func TestWhatIsMoreThanBefore(t *testing.T) {
	was := belongings{mounts: []string{"/a"}, processes: map[string]int{"runsc-sandbox": 1}, descriptors: map[string]int{"socket": 5}, threads: 10}
	now := belongings{mounts: []string{"/a"}, processes: map[string]int{"runsc-sandbox": 1}, descriptors: map[string]int{"socket": 5 + descriptorSlack}, threads: 9}
	if err := now.more(was); err != nil {
		t.Errorf("within the slack: %v", err)
	}
	now.mounts, now.groups, now.descriptors["socket"] = []string{"/a", "/b"}, []string{"/g"}, 50
	now.processes = map[string]int{"runsc-sandbox": 2}
	err := now.more(was)
	for _, want := range []string{"1 more mounts: /b", "1 more control groups: /g", "45 more descriptors: socket", "1 more processes: runsc-sandbox"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTimesOfDate(t *testing.T) {
	at, err := unixSeconds("1795338807.058500000\n")
	if err != nil || at.UnixNano() != 1795338807058500000 {
		t.Errorf("%v, %v", at, err)
	}
	if _, err := unixSeconds("soon"); err == nil {
		t.Error("took a word for a time")
	}
}

func TestTrialsAreNamed(t *testing.T) {
	o, err := parse([]string{"trials", "-short", "-sleep", "20s", "-seed", "7"})
	if err != nil || !slices.Equal(o.names, trialOrder) || o.sleep.Seconds() != 20 || o.seed != 7 {
		t.Errorf("parsed %+v, %v", o, err)
	}
	if o, err = parse([]string{"cron"}); err != nil || !slices.Equal(o.names, []string{"cron"}) {
		t.Errorf("parsed %+v, %v", o, err)
	}
	// Those of "trials", and those that run by name alone.
	named := append([]string{"saving", "streams"}, trialOrder...)
	slices.Sort(named)
	if exist := slices.Sorted(maps.Keys(trials)); !slices.Equal(named, exist) {
		t.Errorf("%v are named, %v exist", named, exist)
	}
}
