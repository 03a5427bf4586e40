"""What estimators with weights of their own learn from, and how often it counts.

An estimator that owns a network has a loss of its own, a penalty, which no user's loop knows of. Outside a
``penalties()`` scope the penalty trains that network by itself: it rides along the layer's path, and the user's own
``loss.backward()`` reaches it with a gradient of one, whatever the loss is scaled by. Inside a scope it is handed to
the user instead, as ``bag.total()``.

**The penalty of one forward counts once.** Of all calls of ``backward`` through a layer's output the first that reaches
the network's weights brings the penalty, the others bring it zero: two losses with a backward each train as their sum
does. ``torch.autograd.grad`` trains nothing, so it takes nothing from a later ``backward``; of its calls the first that
asks for a weight gets the penalty's part. A pass that asks for neither, such as one for the gradient at the input,
is no count at all. Each forward counts for itself: several calls of a layer, accumulated batches. A reentrant
activation checkpoint builds its graph anew in each backward, and a function that ``torch.func.vjp`` or compiled code
gave remembers nothing: there each pass counts (``torch.compile`` itself refuses a second one, unless donated buffers
are off or the backend is "eager").

**Threads.** A scope belongs to the thread that opened it and to the threads started while it is open, as
``nn.DataParallel`` starts its own in each call, unless they open one themselves. A thread that was already running, a
worker of a pool say, is not in it: open the scope in the function that the pool runs. What else is open in a thread
(``penalties_disabled``) is handed on alike.
"""
