"""ppdsim says where the next turn should be prefilled: on the prefill machine or on the decode machine.

Importing the package loads none of its heavy dependencies; import the module that you need
(``ppdsim.scenario``, ``ppdsim.profile``, ``ppdsim.simulation.run`` ...).
"""

__version__ = "0.1.0"
