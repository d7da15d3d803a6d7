package backup

import "filippo.io/age"

// Age is the recipient as package age has it, for what is encrypted beside the
// repository.
func (r Recipient) Age() age.Recipient { return r.to }

// Age is the key as age takes it, for other things that were encrypted to it.
func (k Key) Age() age.Identity { return k.identity }
