package backup

import "filippo.io/age"

// Age is the recipient as package age has it, for what is encrypted beside the
// repository.
func (r Recipient) Age() age.Recipient { return r.to }
