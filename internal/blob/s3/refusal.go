package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// What the parts of this package tell each other.
var (
	errConflict  = fmt.Errorf("%w: somebody else was changing the object", blob.ErrUnavailable)
	errBeyondEnd = errors.New("beyond the end of the object")
	errNonsense  = errors.New("not the answer of an S3 service")
)

// maxWords bounds what a service says in an error of ours, in characters.
const maxWords = 200

// refusalError is an answer that says no.
type refusalError struct {
	call    call
	status  int
	code    string // the service's word for it; "" when it gave none
	message string // of the service
	region  string // the service would have liked
	date    string // by the service's clock
	meaning        // in the words of the contract
}

// meaning is what a refusal comes to: an error of the contract, what a person is
// told, and what mends it. In both texts the words in braces are filled in.
type meaning struct {
	class  error
	text   string
	remedy string
}

// byCode has the words of Amazon's service, which others use too, and some of theirs.
var byCode = map[string]meaning{
	"NoSuchKey":                  {class: blob.ErrNotFound},
	"PreconditionFailed":         {class: blob.ErrExists},
	"ConditionalRequestConflict": {class: errConflict},
	"OperationAborted":           {class: errConflict},
	"InvalidRange":               {class: errBeyondEnd},
	"ObjectParentIsFile":         {class: blob.ErrName, text: "an object's name is the beginning of it"},
	"ExistingObjectIsDirectory":  {class: blob.ErrName, text: "there are objects below it"},

	"NoSuchBucket":      {blob.ErrDenied, "there is no bucket {bucket}", "make the bucket, or correct its name or the endpoint"},
	"InvalidBucketName": {blob.ErrDenied, "{bucket} is not a name that the service has for buckets", "correct the name of the bucket"},

	"InvalidAccessKeyId":    wrongKey,
	"InvalidArgument":       {blob.ErrDenied, "the request is refused: {message}", "correct the access key ID, region and bucket"},
	"Unauthorized":          wrongKey,
	"XAdminUserNotFound":    wrongKey,
	"SignatureDoesNotMatch": {blob.ErrDenied, "the secret key is not the one that belongs to the access key ID", "correct the secret key"},
	"ExpiredToken":          expired,
	"ExpiredTokenException": expired,
	"InvalidToken":          expired,
	"TokenRefreshRequired":  expired,
	"RequestTimeTooSkewed":  clock,
	"RequestExpired":        clock,
	"AccessDenied":          forbidden,
	"AllAccessDisabled":     forbidden,
	"AccountProblem":        {blob.ErrDenied, "the service has locked the account", "ask the provider"},
	"InvalidObjectState":    {blob.ErrDenied, "the object was moved to an archive", "take the bucket's rule that archives objects away, and bring them back"},

	"AuthorizationHeaderMalformed": wrongRegion,
	"IllegalLocationConstraint":    wrongRegion,
	"InvalidRegion":                wrongRegion,
	"PermanentRedirect":            wrongRegion,
	"TemporaryRedirect":            wrongRegion,

	"NotImplemented": {blob.ErrDenied, "the service cannot do what is asked of it: {message}",
		"use a service that knows conditional writes, such as Cloudflare R2, Amazon S3 or a local directory"},
	"QuotaExceeded":      full,
	"XMinioStorageFull":  full,
	"EntityTooLarge":     {blob.ErrDenied, "the service does not take objects that large", "raise the service's limit to 64 MiB, or use another one"},
	"BadDigest":          garbled,
	"IncompleteBody":     garbled,
	"RequestTimeout":     {class: blob.ErrUnavailable, text: "the connection was too slow for the service"},
	"SlowDown":           {class: blob.ErrUnavailable, text: "the service asks to slow down"},
	"ServiceUnavailable": {class: blob.ErrUnavailable, text: "the service is overloaded"},
	"InternalError":      {class: blob.ErrUnavailable, text: "the service failed"},
	// What was signed is not what came in.
	"XAmzContentSHA256Mismatch": garbled,
}

var (
	wrongKey  = meaning{blob.ErrDenied, "the service does not know the access key ID", "correct the access key ID"}
	expired   = meaning{blob.ErrDenied, "the temporary credentials are no longer valid", "get new ones, or use a key that does not expire"}
	clock     = meaning{blob.ErrDenied, "the clock of this machine is wrong{skew}", "set the clock, for instance with `timedatectl set-ntp true`"}
	forbidden = meaning{blob.ErrDenied, "the key may not {do} in bucket {bucket}", "give the key the permission to {do} there; it has to read, write, list and delete objects"}
	full      = meaning{blob.ErrUnavailable, "there is no space left", "raise the quota, or keep fewer versions"}
	garbled   = meaning{class: blob.ErrUnavailable, text: "the data was changed on its way"}

	wrongRegion = meaning{blob.ErrDenied, "the bucket is in another region than {configured}", "set the region to {region}, and the endpoint to that region's"}
	noService   = meaning{blob.ErrDenied, "no S3 service answers there ({status})", "correct the endpoint"}
	unknown     = meaning{blob.ErrDenied, "{code}: {message}", "correct endpoint, region, bucket and key, or ask the provider what that means"}
)

// byStatus is for what has no code, or one that only that service knows.
func byStatus(status int, code string) meaning {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return forbidden
	case status == http.StatusConflict:
		return meaning{class: errConflict}
	case status == http.StatusPreconditionFailed:
		return meaning{class: blob.ErrExists}
	case status == http.StatusRequestedRangeNotSatisfiable:
		return meaning{class: errBeyondEnd}
	case status == http.StatusRequestEntityTooLarge:
		return byCode["EntityTooLarge"]
	case status == http.StatusNotImplemented:
		return byCode["NotImplemented"]
	case status == http.StatusInsufficientStorage:
		return full
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return meaning{class: blob.ErrUnavailable, text: "the service failed ({status})"}
	case status/100 == 3:
		return wrongRegion
	case code == "":
		return noService
	}
	return unknown
}

// refusal makes an error of an answer.
func (s *Store) refusal(c call, a *answer) error {
	var words struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
		Region  string
	}
	if xml.Unmarshal(a.body, &words) != nil {
		words.Code = "" // half an error is none
	}
	e := &refusalError{
		call: c, status: a.status, code: printable(words.Code), message: printable(words.Message),
		region: words.Region, date: a.header.Get("Date"),
	}
	if region := a.header.Get("X-Amz-Bucket-Region"); region != "" {
		e.region = region
	}
	known := false
	if e.meaning, known = byCode[e.code]; !known {
		e.meaning = byStatus(e.status, e.code)
	}
	e.text, e.remedy = e.fill(e.text, s), e.fill(e.remedy, s)
	if e.remedy == "" {
		return e
	}
	return remedy.With(e, e.remedy)
}

// fill completes a text or a remedy.
func (e *refusalError) fill(text string, s *Store) string {
	region := e.region
	if !regionName.MatchString(region) {
		region = "the bucket's"
	}
	return strings.NewReplacer(
		"{bucket}", s.opts.Bucket, "{configured}", s.opts.Region, "{region}", region,
		"{do}", e.call.does(), "{skew}", skew(e.date, time.Now()),
		"{code}", e.code, "{message}", e.message, "{status}", fmt.Sprint("HTTP status ", e.status),
	).Replace(text)
}

func (e *refusalError) Error() string {
	if e.text == "" {
		return e.class.Error()
	}
	return e.class.Error() + ": " + e.text
}

func (e *refusalError) Unwrap() error { return e.class }

// mute says whether the answer may have lacked an explanation only because that
// to HEAD has no body.
func (e *refusalError) mute() bool {
	return e.call.method == http.MethodHead && e.status < 500 && e.status != http.StatusTooManyRequests
}

// does says what a call is for, as a permission.
func (c call) does() string {
	switch {
	case c.key == "":
		return "list objects"
	case c.method == http.MethodPut:
		return "write objects"
	case c.method == http.MethodDelete:
		return "delete objects"
	}
	return "read objects"
}

// skew says how far this machine's clock is from a service's.
func skew(date string, now time.Time) string {
	there, err := http.ParseTime(date)
	if err != nil {
		return ""
	}
	d := there.Sub(now).Round(time.Second)
	switch {
	case d >= time.Second:
		return fmt.Sprintf(": it is %v slow", d)
	case d <= -time.Second:
		return fmt.Sprintf(": it is %v fast", -d)
	}
	return ""
}

// printable makes a service's words fit for an error's one line.
func printable(words string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.Join(strings.Fields(words), " ") {
		if n++; n > maxWords {
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}
