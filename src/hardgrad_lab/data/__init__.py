"""Data sets, one file each: a folder in, tensors out; and streams that feed them to a training loop from the device.

`root` finds files and checks them, `download` fetches them, `images` is what every reader returns. `order` says which
rows a batch has, `prepare` what a network is shown of them; `stream.Resident` feeds a set that the device can hold, and
`pictures.Pictures` one that it cannot.
"""
