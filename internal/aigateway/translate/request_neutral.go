package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// conversation is a request in no API's form. It has what at least two of the APIs
// can say; the rest is in lost by then.
type conversation struct {
	turns []turn
	tools []toolDef

	choice  choiceMode
	allowed []string // of the tools, if not nil: the only ones that may be called
	single  bool     // at most one call in an answer

	maxOutput int64 // tokens; 0: unsaid
	// Numbers as they were written; "" is unsaid.
	temperature, topP, topK           json.Number
	frequencyPenalty, presencePenalty json.Number
	seed                              json.Number
	stop                              []string
	format                            *outputFormat
	thinking                          thinking
	stream                            bool

	lost requestLosses
}

type turnRole uint8

const (
	roleUser turnRole = iota
	roleAssistant
	roleSystem
)

// turn is what one side said in a row. Neighbours have different roles once the
// conversation is settled.
type turn struct {
	role  turnRole
	parts []turnPart
}

type partKind uint8

const (
	partText partKind = iota
	partImage
	partDocument
	partCall
	partResult
)

type turnPart struct {
	kind   partKind
	text   string
	file   mediaFile
	call   toolCall
	result toolResult
}

// mediaFile is an image or a document, by its bytes or by where it is.
type mediaFile struct {
	mime  string // "" where only a URL is known
	data  string // base64, standard alphabet
	url   string // http or https; "" where data is there
	title string
}

// toolCall is a call that the model made. args is a JSON object, byte for byte.
type toolCall struct {
	id, name string
	args     json.RawMessage
}

// toolResult is what a call gave. Its parts are text, images and documents.
type toolResult struct {
	id, name string // the name is known once the conversation is settled
	parts    []turnPart
	failed   bool
}

// toolDef is a function that the model may call. schema is JSON Schema, byte for
// byte; nil where the function takes nothing.
type toolDef struct {
	name, description string
	schema            json.RawMessage
	strict            bool
}

type choiceMode uint8

const (
	choiceUnsaid choiceMode = iota
	choiceAuto
	choiceNone
	choiceAny // some call has to be made, of the allowed ones
)

// outputFormat asks for JSON; of any shape where schema is nil.
type outputFormat struct {
	name, description string
	schema            json.RawMessage
	strict            bool
}

// requestLosses collects names, each once, in the order in which they were met.
type requestLosses struct{ names Losses }

func (l *requestLosses) add(name string) {
	if !slices.Contains(l.names, name) { // some thirty names exist
		l.names = append(l.names, name)
	}
}

// addIf is add if one of the members is there and is no empty list.
func (l *requestLosses) addIf(name string, members ...json.RawMessage) {
	for _, m := range members {
		if said(m) && string(m) != "[]" {
			l.add(name)
		}
	}
}

// addIfNumber is add if a number was said.
func (l *requestLosses) addIfNumber(name string, n json.Number) {
	if n != "" {
		l.add(name)
	}
}

func textPart(s string) turnPart { return turnPart{kind: partText, text: s} }

// say adds parts to the last turn if it is of that role, or opens a turn.
func (c *conversation) say(role turnRole, parts ...turnPart) {
	if len(parts) == 0 {
		return
	}
	if n := len(c.turns); n > 0 && c.turns[n-1].role == role {
		c.turns[n-1].parts = append(c.turns[n-1].parts, parts...)
		return
	}
	c.turns = append(c.turns, turn{role, parts})
}

// settle checks what no form can be written without and brings tools and calls in
// order. It comes after reading, before writing.
func (c *conversation) settle() error {
	if len(c.turns) == 0 {
		return errors.New("there are no messages")
	}
	if err := c.settleTools(); err != nil {
		return err
	}
	c.stop = slices.DeleteFunc(c.stop, func(s string) bool { return s == "" }) // stops nothing
	if c.thinking.effort != "" && !slices.Contains(efforts, c.thinking.effort) {
		c.thinking.effort = ""
		c.lost.add("effort")
	}
	return nil
}

// settleTools leaves out what may not be called. A choice among no tools is none,
// unless a call is demanded.
func (c *conversation) settleTools() error {
	if c.allowed != nil {
		allowed := make(map[string]bool, len(c.allowed))
		for _, name := range c.allowed {
			allowed[name] = true
		}
		c.tools = slices.DeleteFunc(c.tools, func(t toolDef) bool { return !allowed[t.name] })
	}
	if len(c.tools) > 0 {
		return nil
	}
	if c.choice == choiceAny {
		return errors.New("a call of a tool is demanded, and none of those that could be called can be carried over")
	}
	c.choice, c.single = choiceUnsaid, false
	return nil
}

// onlyTool is the name of the tool that has to be called, if it is one.
func (c *conversation) onlyTool() string {
	if c.choice == choiceAny && len(c.allowed) > 0 && len(c.tools) == 1 {
		return c.tools[0].name
	}
	return ""
}

// systemFirst takes the system turns out and puts them together, for APIs that have
// one such place. Those that stood later move; where nothing else is left, they are
// what the user says.
func (c *conversation) systemFirst() (system []turnPart) {
	turns := c.turns
	c.turns = nil
	for i, t := range turns {
		if t.role != roleSystem {
			c.say(t.role, t.parts...)
			continue
		}
		if i > 0 {
			c.lost.add("system_position")
		}
		system = append(system, t.parts...)
	}
	if len(c.turns) == 0 {
		c.lost.add("system_position")
		c.say(roleUser, system...)
		return nil
	}
	return system
}

// endsWithAssistant tells whether the model is to go on where it stopped.
func (c *conversation) endsWithAssistant() bool {
	return c.turns[len(c.turns)-1].role == roleAssistant
}

// endsWithResult tells whether the model waits for what its calls gave.
func (c *conversation) endsWithResult() bool {
	last := c.turns[len(c.turns)-1]
	return slices.ContainsFunc(last.parts, func(p turnPart) bool { return p.kind == partResult })
}

// openCall is a call that waits for what it gave.
type openCall struct {
	call     *toolCall
	answered bool
}

// openCalls are the calls of one id or of one name, in order.
type openCalls map[string][]*openCall

// take is the call that the next result of that key belongs to: the first without
// one, or else the last, because some clients answer twice.
func (o openCalls) take(key string) *openCall {
	calls := o[key]
	for len(calls) > 1 && calls[0].answered {
		calls = calls[1:]
	}
	if len(calls) == 0 {
		return nil
	}
	o[key] = calls
	return calls[0]
}

// settleIDs gives each call an id that fits and that no other call has, and each
// result its call's id and name. An id that fits stays. Others become deterministic
// ones, so that the same history gives the same bytes, which a provider's cache needs.
// Results without an id answer calls of their name in order, as Gemini has it.
func (c *conversation) settleIDs(fits func(id string) bool, size int) {
	used := map[string]bool{}
	byID, byName := openCalls{}, openCalls{}
	for _, t := range c.turns {
		for i := range t.parts {
			switch p := &t.parts[i]; p.kind {
			case partCall:
				open := &openCall{call: &p.call}
				if p.call.id != "" {
					byID[p.call.id] = append(byID[p.call.id], open)
				}
				byName[p.call.name] = append(byName[p.call.name], open)
				p.call.id = freeID(p.call.id, fits, size, used)
			case partResult:
				r := &p.result
				open := byID.take(r.id)
				if open == nil && r.name != "" {
					open = byName.take(r.name)
				}
				if open != nil {
					open.answered = true
					r.id, r.name = open.call.id, open.call.name
				} else if !fits(r.id) { // an answer to nothing: the target will say so
					r.id = hashedID(r.id+"\x00"+r.name, size)
				}
			}
		}
	}
}

func freeID(id string, fits func(string) bool, size int, used map[string]bool) string {
	for n := len(used); !fits(id) || used[id]; n++ {
		id = hashedID(id+"\x00"+strconv.Itoa(n), size)
	}
	used[id] = true
	return id
}

// hashedID is size hexadecimal digits that stand for seed.
func hashedID(seed string, size int) string {
	sum := sha256.Sum256([]byte(seed))
	return hex.EncodeToString(sum[:])[:size]
}

// objectArgs is s as a JSON object. Models write arguments that are none; those stay
// readable under a name.
func (c *conversation) objectArgs(s string) json.RawMessage {
	if strings.TrimSpace(s) == "" {
		return json.RawMessage("{}")
	}
	if isObject([]byte(s)) && json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	c.lost.add("tool_arguments")
	args, err := requestJSON(map[string]string{"arguments": s})
	if err != nil {
		return json.RawMessage("{}") // not reached: a string can always be written
	}
	return args
}

// wholeNumber reads a count that may be written as 4096, 4096.0 or 4e3; 0 if unsaid.
func wholeNumber(name string, n json.Number) (int64, error) {
	if n == "" {
		return 0, nil
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("%s is no whole number of a possible size", name)
	}
	return int64(f), nil
}

// setMax reads a bound on the answer. Zero asks for no answer at all (Anthropic warms
// its cache so), which is another request.
func (c *conversation) setMax(name string, n json.Number) error {
	max, err := wholeNumber(name, n)
	if err != nil || n == "" {
		return err
	}
	if max <= 0 {
		return fmt.Errorf("%s is %d: no answer is asked for", name, max)
	}
	c.maxOutput = max
	return nil
}

// plainText joins the texts of parts; what is no text does not count.
func plainText(parts []turnPart, between string) string {
	var texts []string
	for _, p := range parts {
		if p.kind == partText && p.text != "" {
			texts = append(texts, p.text)
		}
	}
	return strings.Join(texts, between)
}

func intNumber(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }
