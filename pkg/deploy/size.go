package deploy

import "fmt"

// Size is a number of bytes as a person reads it: two digits at least, binary units.
func Size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB"}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n) / (1 << 10)
	for i, unit := range units {
		switch {
		case f < 9.95:
			return fmt.Sprintf("%.1f %s", f, unit)
		case f < 1023.5 || i == len(units)-1:
			return fmt.Sprintf("%.0f %s", f, unit)
		}
		f /= 1 << 10
	}
	panic("unreachable: the last unit takes what is left")
}
