"""Does one tenant's flood reach the others, and does overload leave the desk standing?"""
